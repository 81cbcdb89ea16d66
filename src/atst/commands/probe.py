"""`atst probe`: how good a model's features are for a labelled task."""

from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.table import Table

from atst import model as models
from atst.evaluation.output import write_probe
from atst.evaluation.probe import ProbeResult, linear_probe
from atst.tasks import load_task


def probe(
    task: str | Path,
    /,
    *,
    model: str | Path,
    data: Path | str | None = None,
    out: Path | str | None = None,
    protocol: Literal["paper"] = "paper",
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto",
    seed: int = 0,
    cache: bool = True,
) -> ProbeResult:
    """Measure how well a linear classifier does on a model's frozen features.

    Learning rate and epoch are chosen on validation clips, held out of the training clips where the task has
    none, never on test clips. The metric comes with a 95% bootstrap interval over test clips.

    Example: `atst probe esc10 --data data/esc10 --model runs/mine --out probes/mine`

    Parameters
    ----------
    task
        A registered task (esc10, fsdd, fsdd-speaker, gmnotes, gmnotes-pitch, synthetic), or the path of a
        CSV file with the columns `path`, `label`, and `split` (train, valid, test) or `fold`; several labels
        in a cell are separated by `;`.
    model
        A model folder, a run folder, an authors' `.ckpt`, `random:SIZE`, `logmel` or `opensmile`.
    data
        Folder with the files of a registered task. Default: its folder in $ATST_DATA.
    out
        Folder for results.json, predictions.csv, report.html and model/ (the encoder with the classifier).
    protocol
        `paper`: all blocks' CLS and mean tokens, BatchNorm and a linear layer, SGD for 100 epochs.
    device
        Where to compute.
    seed
        Of the classifier's start, the order of the data, held-out clips, the bootstrap and `random:` models.
    cache
        Keep features on disk ($ATST_CACHE, else the user's cache folder) and read them back.
    """
    labelled = load_task(task, data)
    encoder = models.load(model, device=device, seed=seed)
    finished = linear_probe(encoder, labelled, seed=seed, cache=cache, device=device)
    if out is not None:
        write_probe(finished, encoder, out)
    _show(finished.result, None if out is None else Path(out))
    return finished.result


def _show(result: ProbeResult, out: Path | None) -> None:
    console = Console()
    table = Table("task", "model", "metric", "value", "95% interval", f"kNN, k = {result.knn['k']}")
    low, high = result.ci
    interval, knn = f"{low:.3f} to {high:.3f}", f"{result.knn['value']:.3f}"
    table.add_row(result.task, result.model, result.metric, f"{result.value:.3f}", interval, knn)
    console.print(table)
    lines = [f"warning: {warning}" for warning in result.warnings]
    lines += [f"  skipped {clip}: {reason}" for clip, reason in result.skipped[:10]]
    lines += [] if out is None else [f"report: {out / 'report.html'}"]
    for line in lines:  # a file name may be no UTF-8
        console.print(line.encode(errors="backslashreplace").decode(), markup=False)
