"""`atst finetune`: an encoder trained further on labelled sound."""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from atst.commands._options import Flag, Quiet
from atst.errors import TrainingError, UsageError
from atst.finetuning import recipe as recipes
from atst.finetuning import run as runs
from atst.finetuning.clips import Clips
from atst.finetuning.fit import Job
from atst.finetuning.output import read_result, write_finetuned
from atst.finetuning.recipe import Recipe
from atst.finetuning.result import FinetuneResult
from atst.model import device as devices_of
from atst.model import load as models
from atst.model.audio_model import AudioModel
from atst.output import progress
from atst.output.atomic import remove_leftovers, write_text
from atst.output.skipped import summary, with_partial
from atst.output.text import writable
from atst.scoring.clips import task_fingerprint
from atst.scoring.splits import FewShot
from atst.tasks import Task, drawn, load_task
from atst.training import precision
from atst.training.launch import check_processes, hold, is_first_process, stopped
from atst.training.loader import resources
from atst.training.recipe import RECIPE, shorthand
from atst.training.start import check_folder, check_same

MAY_CHANGE = ("workers", "checkpoint_minutes")  # recipe keys that do not touch the result


def finetune(
    task: Annotated[str | Path | Task, Parameter(accepts_keys=False, n_tokens=1)],
    /,
    *,
    model: str | Path,
    out: Path | str,
    data: Path | str | None = None,
    protocol: Literal["paper", "authors2023", "own"] | None = None,
    overrides: Annotated[Sequence[str], Parameter(name="--set")] = (),
    fold: int | None = None,
    shots: int | None = None,
    fraction: float | None = None,
    resume: Flag = False,
    channel: int | str = "mean",
    partial: Flag = False,
    workers: int | None = None,
    seed: int | None = None,
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto",
    devices: int = 1,
    quiet: Quiet = False,
) -> FinetuneResult | None:
    """Fine-tune an encoder with a classifier on a labelled task, and test them once.

    For example:

        atst finetune my-sounds/meta.csv --model runs/mine --out finetuned/mine --set learning_rate=0.2

    The folder then holds results.json, predictions.csv, report.html and model/ (encoder, head and labels, for
    atst predict). Test clips are used once, after training. For cross-validation, one network is trained for
    each fold, and the model in model/ on all clips. Ctrl-C saves and stops; --resume continues.

    Args:
        task: A registered task; the path of a CSV file with the columns `path`, `label`, and `split` (train,
            valid, test) or `fold` (without both, splits are drawn by recording); or a folder with a folder
            for each class. From Python also a `Task`.
        model: The model to start from: a model or run folder, an authors' `.ckpt`, or `random:SIZE` to train
            from scratch.
        out: The folder for the results; it must be new or empty unless --resume is given.
        data: Folder with the files of a registered task. Default: its folder in $ATST_DATA.
        protocol: `paper`: the authors' code at the time of the paper (2022), which tests the best validation
            epoch; for three tasks, their default. `authors2023`: their later scripts, which test the last
            epoch; for seven tasks, the default of the other four. `own`: the best validation epoch, with
            early stopping; the default for all other tasks.
        overrides: A recipe key to change, as key=value; may be repeated.
        fold: Run only the fold with this number.
        shots: Use only this many training clips of each class, drawn by the seed.
        fraction: Use only this fraction of the training clips of each class.
        resume: Continue in --out from the newest checkpoint, or start if there is none.
        channel: `mean` of all channels, or the index of one, from 0.
        partial: Use recordings that were cut short as far as they go, and list them (`partial` in
            results.json).
        workers: Loader processes; the same as --set workers=N.
        seed: The same as --set seed=N.
        device: Where to train.
        devices: Number of devices of that kind, with a process each; under SLURM as many tasks, started by
            srun.
        quiet: Show no progress, only warnings and the result.

    Returns:
        The result, as results.json has it.
    """
    folder = Path(out)
    check_processes(devices)
    with hold(folder), progress.quiet(quiet):
        check_folder(folder, resume)
        labelled = load_task(task, data).heard(channel, partial)
        runs.check_fold(labelled, fold)
        few_shot = FewShot.from_options(shots, fraction)
        if few_shot is not None:
            few_shot.check(labelled.name, labelled.multi_label)
        before = _stored(folder) if resume else None
        followed = recipes.protocol_of(labelled.name, protocol or (before or {}).get("protocol"))
        recipe = _recipe(
            labelled.name, followed, [*overrides, *shorthand(workers=workers, seed=seed)], before
        )
        labelled = labelled if isinstance(task, Task) else drawn(labelled, recipe.seed)
        where = devices_of.resolve(device)
        start = _encoder(model, recipe, devices)
        recipe = precision.settle(recipe, start.encoder.width, where, folder, before is not None)
        about = {
            "protocol": followed,
            "fold": fold,
            "task": task_fingerprint(labelled),
            "model": start.fingerprint,
            "channel": labelled.channel,
            "partial": partial,
        }
        about["labels"] = "all" if few_shot is None else few_shot.description
        if before is not None:
            if is_first_process():
                remove_leftovers(folder)
            check_same(before, about | asdict(recipe), MAY_CHANGE)
            if (finished := read_result(folder)) is not None:
                _show(finished, folder)
                return finished
        if is_first_process():
            _write_start(folder, recipe, about)
            computing = resources(recipe.precision, recipe.workers, devices)
            progress.say(f"fine-tuning on {labelled.name}: {computing}")
        job = Job(start, labelled, Clips(labelled), recipe, folder, where, devices, few_shot)
        return _run(job, followed, fold, resume)


def _run(job: Job, protocol: str, fold: int | None, resume: bool) -> FinetuneResult | None:
    try:
        finished = runs.finetune(job, protocol, fold, resume)
    except KeyboardInterrupt:
        raise stopped(
            "Steps since the last checkpoint are lost; the same command with --resume continues."
        ) from None
    if finished is None and is_first_process():
        raise stopped("Saved; the same command with --resume continues.")
    if finished is None:  # of several processes one writes
        return None
    write_finetuned(finished, job.folder)
    _show(finished.result, job.folder)
    return finished.result


def _encoder(name: str | Path, recipe: Recipe, devices: int) -> AudioModel:
    """The model to start from; what the recipe asks of it and of the devices is checked."""
    model = models.load(name, seed=recipe.seed)
    if not isinstance(model, AudioModel):
        raise UsageError(f"--model {name}: has no weights to train; use atst probe instead.")
    if recipe.freeze > model.depth:
        raise UsageError(f"freeze must be 0 to {model.depth} for this encoder, not {recipe.freeze}.")
    micro, rest = divmod(recipe.batch_size, recipe.accumulate * devices)
    if rest or micro < 2:
        raise UsageError(
            f"batch_size ({recipe.batch_size}) must be a multiple (2 or more times) of accumulate "
            f"({recipe.accumulate}) times --devices ({devices})."
        )
    return model


def _write_start(folder: Path, recipe: Recipe, about: dict[str, Any]) -> None:
    write_text(folder / RECIPE, recipe.dump())
    write_text(folder / "start.json", json.dumps(about, indent=2) + "\n")


def _stored(folder: Path) -> dict[str, Any] | None:
    """Recipe keys and start of the fine-tuning in a folder, or none."""
    recipe = Recipe.stored(folder)
    if recipe is None or not (folder / "start.json").is_file():
        return None
    try:
        return asdict(recipe) | dict(json.loads((folder / "start.json").read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise TrainingError(f"{folder}: not the folder of a fine-tuning: {error}") from None


def _recipe(task: str, protocol: str, overrides: list[str], before: dict[str, Any] | None) -> Recipe:
    """The recipe asked for; a resumed fine-tuning keeps the keys that are not overridden."""
    if before is None or before["protocol"] != protocol:
        return recipes.resolve(task, protocol, overrides)
    stored = {field.name: before[field.name] for field in fields(Recipe)}
    asked = Recipe.from_mapping(stored).override(overrides)
    return replace(asked, precision=before["precision"]) if asked.precision == precision.AUTO else asked


def _show(result: FinetuneResult, folder: Path) -> None:
    """Print one line of result, and on stderr what was left out."""
    if not is_first_process():
        return
    low, high = result.ci
    lines = [f"warning: {warning}" for warning in result.warnings]
    skipped = with_partial(result.skipped, result.partial)
    lines.append(summary(result.clips + len(result.skipped), skipped, folder, "clips"))
    for line in lines:
        print(writable(line), file=sys.stderr)
    print(
        f"{result.task}: {result.metric} {result.value:.3f} (95% interval {low:.3f} to {high:.3f}), "
        f"{result.model}, protocol {result.protocol}; {folder / 'report.html'}"
    )
