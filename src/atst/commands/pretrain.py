"""`atst pretrain`: unlabelled sound in, an encoder out."""

import errno
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from atst.commands._options import Flag, Quiet
from atst.corpus import Corpus, Subset, open_corpus
from atst.errors import TrainingError, UsageError
from atst.model import load as models
from atst.model.audio_model import AudioModel
from atst.model.device import resolve
from atst.model.encoder import SIZES
from atst.output import progress
from atst.output.progress import track
from atst.output.skipped import kinds
from atst.pretraining import recipe as recipes
from atst.pretraining import run as runs
from atst.pretraining.recipe import Recipe
from atst.sound.options import how_to_read
from atst.training import precision
from atst.training.launch import check_processes, hold, is_first_process, stopped
from atst.training.loader import resources
from atst.training.recipe import RECIPE, shorthand
from atst.training.start import check_folder, check_same

# Recipe keys that a resumed run may change; the clips of a step stay as many (`run._check_clips_per_step`).
MAY_CHANGE = ("workers", "keep_checkpoints", "batch_size", "accumulate", "sharded")
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def pretrain(
    sources: Sequence[str | Path],
    /,
    *,
    out: Path | str,
    recipe: str | Path | None = None,
    overrides: Annotated[Sequence[str], Parameter(name="--set")] = (),
    init: str | Path | None = None,
    resume: Flag = False,
    watch: str | Path | None = None,
    watch_data: Path | str | None = None,
    channel: int | str = "mean",
    max_duration: float | None = None,
    workers: int | None = None,
    seed: int | None = None,
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto",
    devices: int = 1,
    quiet: Quiet = False,
) -> runs.Run:
    """Train an encoder on unlabelled sound.

    For example:

        atst pretrain my-sounds/ --out runs/mine --set max_steps=20000

    The run folder holds the recipe, metrics.csv and TensorBoard events, checkpoints, the model (loadable
    from the first checkpoint on) and report.html. Ctrl-C saves and stops; --resume continues. Files that
    cannot be used are counted and listed in errors.csv; recordings that were cut short are used as far as
    they go.

    Args:
        sources: Audio files, folders, packed corpora or their addresses, manifests (.csv, .jsonl, .txt),
            which may have columns `start` and `end` (seconds), or `synthetic` for built-in sounds.
        out: The run folder; it must be new or empty unless --resume is given.
        recipe: `nano`, `tiny` (the default), `small`, `base`, or a YAML file that changes some keys of one.
        overrides: A recipe key to change, as key=value; may be repeated.
        init: Start from the encoder weights of this model, with fresh heads.
        resume: Continue the run in --out from its newest checkpoint, or start it if there is none.
        watch: A labelled task whose kNN accuracy (train and valid splits) is measured at every checkpoint.
        watch_data: The folder of the watched task's data.
        channel: `mean` of all channels, or the index of one, from 0.
        max_duration: Skip, and list, recordings longer than this many seconds, or whose header says so.
        workers: Loader processes; the same as --set workers=N.
        seed: The same as --set seed=N.
        device: Where to train.
        devices: Number of devices of that kind on all machines, with a process each: started by torchrun, as
            tasks of SLURM by srun, or by this command.
        quiet: Show no progress, only warnings and the result.

    Returns:
        The run's folder, the steps done, whether it stopped early, and how many clips were unreadable.
    """
    out = Path(out)
    check_processes(devices)
    how = how_to_read(channel, max_duration)
    with hold(out), progress.quiet(quiet or not is_first_process()):
        plan = _plan(recipe, [*overrides, *shorthand(workers=workers, seed=seed)], out, resume)
        if plan.sharded and devices == 1:
            raise UsageError(
                "sharded=true divides the networks over devices: give --devices 2 or more, or sharded=false."
            )
        where = resolve(device)
        start = None if init is None else _initial(init, plan)
        watcher = None if watch is None else _watcher(watch, watch_data)
        corpus = _open(sources, plan, **how)
        resumed = resume and (out / RECIPE).is_file()
        plan = precision.settle(plan, SIZES[plan.size][0], where, out, resumed)
        progress.say(_outline(plan, corpus, devices))
        result = _train(runs.Job(plan, corpus, out, where, devices, watcher), resume, start)
    if result.stopped and result.steps < plan.max_steps:
        raise stopped(f"Saved at step {result.steps}; the same command with --resume continues.")
    _say(_summary(result, corpus))
    return result


def _train(job: runs.Job, resume: bool, init: AudioModel | None) -> runs.Run:
    try:
        return runs.train(job, resume=resume, init=init)
    except KeyboardInterrupt:
        raise stopped(
            "Steps since the last checkpoint are lost; the same command with --resume continues."
        ) from None
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        raise TrainingError(
            f"--out {job.folder}: {error.strerror}. "
            "The last checkpoint is complete: --resume continues from there."
        ) from error


def _plan(recipe: str | Path | None, overrides: list[str], out: Path, resume: bool) -> Recipe:
    """The run's recipe: as asked, or as stored when a resumed run is asked for nothing else."""
    check_folder(out, resume)
    stored = Recipe.stored(out) if resume else None
    if stored is None:
        return recipes.resolve(recipe or recipes.DEFAULT, overrides)
    asked = stored.override(overrides) if recipe is None else recipes.resolve(recipe, overrides)
    if asked.precision == precision.AUTO:
        asked = replace(asked, precision=stored.precision)
    check_same(asdict(stored), asdict(asked), MAY_CHANGE)
    return asked


def _initial(name: str | Path, plan: Recipe) -> AudioModel:
    model = models.load(name)
    if not isinstance(model, AudioModel):
        raise UsageError(f"--init {name}: not an encoder in PyTorch, whose training could go on.")
    its, wanted = (f"'{each.size}' with stem '{each.stem}'" for each in (model.config, plan))
    if its != wanted:
        raise UsageError(f"--init {name}: its encoder is {its}, the recipe's is {wanted}.")
    return model


def _watcher(task: str | Path, data: Path | str | None) -> Callable[[AudioModel], float]:
    from atst.evaluation.knn import knn_watch
    from atst.tasks import load_task

    if not is_first_process():
        return lambda model: math.nan  # the first process measures and writes
    return knn_watch(load_task(task, data, "--watch-data"))


def _open(sources: Sequence[str | Path], plan: Recipe, **how: Any) -> Corpus:
    if not sources:
        raise UsageError("no sources: name audio files, folders or manifests, or `synthetic`.")
    corpus = open_corpus(sources, plan.clip_seconds, plan.min_seconds, **how, progress=track)
    if corpus.skipped:
        first = ": ".join(corpus.skipped[0])
        _say(f"{len(corpus.skipped)} files left out ({kinds(corpus.skipped)}), for example {first}")
    if corpus.cut:
        first = ": ".join(corpus.cut[0])
        _say(f"{len(corpus.cut)} stretches cut at the end of their recording, for example {first}")
    return Subset(corpus, plan.subset, plan.subset_seed) if plan.subset else corpus


def _outline(plan: Recipe, corpus: Corpus, devices: int) -> str:
    clips = plan.max_steps * plan.batch_size * plan.accumulate * devices
    return (
        f"{plan.size} encoder, {plan.segments} s segments, {len(corpus)} clips "
        f"({corpus.seconds.sum() / 3600:.2f} h): "
        f"{plan.max_steps} steps, {clips} clips, {clips / len(corpus):.1f} passes over the corpus; "
        f"{resources(plan.precision, plan.workers, devices)}"
    )


def _summary(result: runs.Run, corpus: Corpus) -> str:
    counts = [
        (len(corpus.skipped), "files left out at the start"),
        (len(corpus.cut), "stretches cut at the end of their recording"),
        (result.unreadable, "clips could not be used"),
        (result.partly, "clips of recordings that were cut short"),
    ]
    found = [f"{count} {what}" for count, what in counts if count]
    left_out = f"; {', '.join(found)} (errors.csv)" if found else ""
    model, report = result.folder / "model", result.folder / "report.html"
    return f"done: {result.steps} steps; model in {model}, curves in {report}{left_out}"


def _say(text: str) -> None:
    if is_first_process():
        print(text, file=sys.stderr, flush=True)
