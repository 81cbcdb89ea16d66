"""`atst probe`: how good a model's features are for a labelled task."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from atst.commands._options import Flag, Quiet
from atst.errors import UsageError
from atst.evaluation.features import prepare
from atst.evaluation.few_shot import SEEDS, few_shot_probe
from atst.evaluation.hear import hear_probe
from atst.evaluation.linear import linear_probe
from atst.evaluation.report import write_probe
from atst.evaluation.result import ProbeResult
from atst.evaluation.simple import simple_probe
from atst.model import load as models
from atst.model.audio_model import AudioModel
from atst.output import progress
from atst.output.progress import say
from atst.output.skipped import summary, with_partial
from atst.output.text import print_table, writable
from atst.scoring.report import interval_text
from atst.scoring.splits import FewShot
from atst.tasks import Task, load_task, published


def probe(
    task: Annotated[str | Path | Task, Parameter(accepts_keys=False, n_tokens=1)],
    /,
    *,
    model: str | Path,
    data: Path | str | None = None,
    out: Path | str | None = None,
    protocol: Literal["paper", "simple", "hear"] = "paper",
    pooling: Literal["mean", "published", "statistics", "whitened"] | None = None,
    levels: Literal["blocks", "stem", "stem-last", "all"] | None = None,
    shots: int | None = None,
    fraction: float | None = None,
    seeds: int | None = None,
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto",
    devices: int = 1,
    seed: int = 0,
    channel: int | str = "mean",
    partial: Flag = False,
    cache: bool = True,
    quiet: Quiet = False,
) -> ProbeResult:
    """Measure how well a linear classifier, or a shallow network, does on a model's frozen features.

    Learning rate and epoch are selected on validation clips, never on test clips (`--protocol simple` selects
    nothing). Where the task has no validation split, training clips are held out, repeatedly until 300 of
    them were. The metric comes with a 95% bootstrap interval over test clips. With `--shots` or `--fraction`
    only some labels are used, in several draws, and the interval is over the draws.

    Example: `atst probe esc10 --data data/esc10 --model runs/mine --out probes/mine`

    Parameters
    ----------
    task
        A registered task (`atst tasks` lists them), a folder of class folders, or the path of a CSV file with
        the columns `path`, `label`, and `split` (train, valid, test) or `fold`; without these it is split by
        recording. Several labels in a cell are separated by `;`; `start` and `end` (seconds) make a row a
        segment of its file. From Python also a `Task`.
    model
        A model folder, a run folder, an authors' `.ckpt`, `random:SIZE`, or a baseline: `logmel`,
        `functionals`, `descriptors`, `functionals+descriptors`, `opensmile`, or a file of `atst export`
        (.onnx).
    data
        Folder with the files of a registered task. Default: its folder in $ATST_DATA.
    out
        Folder for results.json, predictions.csv, report.html and model/ (the encoder with the classifier).
    protocol
        What is trained on the features. `paper`: BatchNorm and a linear layer, SGD for 100
        epochs. `simple`: logistic regression with C = 0.01, and 10 nearest neighbours by cosine, both on
        standardised features; takes seconds, and as nothing is selected, validation clips train too.
        `hear`: networks of 1 or 2 hidden layers of 1024, Adam with early stopping, at 8 random points of
        HEAR's grid; the best on validation clips (with folds, of the first) is tested. Much slower.
    pooling, levels
        How the features are read, as in `atst embed`. Default: all blocks' CLS and mean tokens, pooled as
        published; of a convolutional encoder its own read-out, of an ONNX file the one it was exported with.
    shots
        Training clips of each class, drawn at random; no other labels are used. The paper's protocol holds
        out a fifth of 2 or more (at least one) to select learning rate and epoch; with 1 the middle learning
        rate is used.
    fraction
        The same with this fraction, 0 to 1, of the training clips of each class (at least one).
    seeds
        Number of draws. Default: 5. Predictions, curves and classifier in --out are of the first.
    device
        Where to compute.
    devices
        Number of GPUs that share the embedding of the clips.
    seed
        Of random splits, drawn and held-out clips, initial weights, the order of the data, the bootstrap and
        models named `random:SIZE`.
    channel
        `mean` of the channels, or the index of one, from 0.
    partial
        Use recordings that were cut short as far as they go, and list them (`partial` in results.json); their
        features are not kept on disk.
    cache
        Keep features on disk ($ATST_CACHE, else the user's cache folder) and use them again; more than 1 GiB
        is read batch by batch. Without it all features are in memory.
    quiet
        Show no progress.
    """
    if seed < 0:
        raise UsageError(f"--seed must be 0 or more, not {seed}.")
    if devices < 1:
        raise UsageError(f"--devices must be 1 or more, not {devices}.")
    few_shot = _few_shot(shots, fraction, seeds)
    if protocol == "hear" and few_shot is not None:
        raise UsageError(
            "--shots and --fraction go with --protocol paper or simple: HEAR has no few-shot setting."
        )
    with progress.quiet(quiet):
        labelled = load_task(task, data, seed=seed).heard(channel, partial)
        if few_shot is not None:
            few_shot.check(labelled.name, labelled.multi_label)
        encoder = models.load(model, device=device, seed=seed)
        if pooling is not None or levels is not None:
            if not isinstance(encoder, AudioModel):
                raise UsageError(f"--pooling, --levels: {encoder.name} has only one read-out.")
            encoder.read_as(pooling=pooling, levels=levels)
        classify = simple_probe if protocol == "simple" else linear_probe
        examples = prepare(
            encoder, labelled, seed=seed, cache=cache, device=device, devices=devices, few_shot=few_shot
        )
        if protocol == "hear":
            finished = hear_probe(examples)
        elif few_shot is None:
            finished = classify(examples)
        else:
            finished = few_shot_probe(examples, classify, seeds or SEEDS)
    if out is not None:
        write_probe(finished, out)
    _show(finished.result, None if out is None else Path(out))
    return finished.result


def _few_shot(shots: int | None, fraction: float | None, seeds: int | None) -> FewShot | None:
    few_shot = FewShot.from_options(shots, fraction)
    if seeds is not None and few_shot is None:
        raise UsageError("--seeds counts the draws of --shots or --fraction; for another seed give --seed.")
    if seeds is not None and seeds < 1:
        raise UsageError(f"--seeds must be 1 or more, not {seeds}.")
    return few_shot


def _show(result: ProbeResult, out: Path | None) -> None:
    header = ("task", "model", "metric", "value", "95% interval", f"kNN, k = {result.knn['k']}", "protocol")
    knn = f"{result.knn['value']:.3f} ({interval_text(result.knn['ci'])})"
    cells = [f"{result.value:.3f}", interval_text(result.ci), knn, result.description]
    rows = [[result.task, result.model, result.metric, *cells]]
    for figure in published(result.task):
        source = f"published: {figure.protocol}, code of {figure.generation}"
        rows.append([figure.task, figure.model, figure.metric, f"{figure.value / 100:.3f}", "", "", source])
    print_table(header, rows)
    lines = [f"trained on {result.trained_on}; interval over {result.ci_over}"] if result.seeds else []
    lines += [f"warning: {warning}" for warning in result.warnings]
    lines += [] if out is None else [f"report: {out / 'report.html'}"]
    for line in lines:
        print(writable(line))
    skipped = with_partial(result.skipped, result.partial)
    say(writable(summary(result.clips + len(result.skipped), skipped, out, "clips")))
