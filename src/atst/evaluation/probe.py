"""The linear probe of the paper: how much a linear layer gets out of frozen features."""

from typing import Any

import numpy as np

from atst.evaluation import sweep
from atst.evaluation.features import Features
from atst.evaluation.heads import Head, Labelled, kept_head, prepare
from atst.evaluation.measured import Chosen, Probe, measure
from atst.scoring.per_class import unseen
from atst.scoring.splits import Few, Parts
from atst.tasks import Task

RATES = tuple(float(f"{rate:.2g}") for rate in np.logspace(-5, 0, 12))  # for a batch of 256
PAPER_SETTINGS = {"epochs": sweep.EPOCHS, "batch": sweep.BATCH}


def linear_probe(
    model: Any,
    task: Task,
    *,
    seed: int = 0,
    cache: bool = True,
    device: str = "auto",
    few: Few | None = None,
    features: Features | None = None,
) -> Probe:
    """Train linear classifiers on frozen features and measure them on the test clips.

    BatchNorm without affine and a linear layer, SGD with momentum 0.9, 100 epochs, batch 1024, cosine to 0.
    Rate and epoch are the best on validation clips; the test clips are used once, after that. Where the
    validation clips had to be held out of the training clips, in several turns if they are few, the
    classifier that is tested is trained again on all of them, with the chosen rate and as many epochs.
    A temperature is fitted on the validation clips.

    Args:
        model: anything with the `embed`, `depth`, `name` and `fingerprint` of a model.
        task: the labelled clips.
        seed: of the initial weights, the order of the data, held-out clips and the bootstrap.
        cache: whether features are kept on disk and read back.
        device: `auto`, `cpu`, `cuda` or `mps`; where the classifiers are trained.
        few: how many labels may be used, to choose and to train; the seed draws them. Where there is only
            one of each class, none is left to choose on: the middle rate is taken, and all epochs.
        features: those of the task's clips, if they have been extracted already.
    """
    data, parts, features = prepare(model, task, seed, cache, device, few, features)
    grid, swept = _sweep(data, parts, list(task.rates or RATES))
    best = [swept.best(fold) for fold in range(parts.count)]  # (index of the rate, epoch)
    chosen = _chosen(data, parts, swept, grid, best)
    # With few labels the kept head has seen no more of them: it is that of the first fold.
    refit = None if parts.folds is None or few is not None else _refit(data, parts, swept, grid, best)
    probe = measure(
        model,
        data,
        parts,
        features,
        swept,
        chosen,
        refit,
        PAPER_SETTINGS,
        _edges(task, [rate for rate, _ in best], grid) + _scarce(data, parts, few),
        protocol="paper",
        chosen_on=_chosen_on(parts, few),
        rates=grid,
        trained_on="all training clips" if few is None else few.words,
    )
    probe.result.warnings += unseen(task, features.rows, parts.known, parts.test)
    if few is not None:
        probe.head.trained_on = _drawn(few, parts, seed)
    return probe


def _sweep(data: Labelled, parts: Parts, grid: list[float]) -> tuple[list[float], sweep.Sweep]:
    """The rates that were tried, the middle one if there is nothing to choose on, and what training gave."""
    if parts.valid.any():
        rows = parts.known[:, :, None] & ~parts.turns
        return grid, data.train(rows, [grid] * parts.count, valid=parts.turns)
    grid = [grid[len(grid) // 2]]
    stop = [sweep.EPOCHS] * parts.count
    return grid, data.train(parts.known[:, :, None], [grid] * parts.count, stop=stop)


def _chosen(
    data: Labelled, parts: Parts, swept: sweep.Sweep, grid: list[float], best: list[tuple[int, int]]
) -> list[Chosen]:
    validated = [_heads_of(swept, parts, fold, rate) for fold, (rate, _) in enumerate(best)]
    tested = [heads[0] for heads in validated]
    if parts.held_out:
        rates, stop = [[grid[rate]] for rate, _ in best], [epoch for _, epoch in best]
        heads = data.train(parts.known[:, :, None], rates, stop=stop).heads
        tested = [kept_head(heads, fold, 0, "training and held-out clips") for fold in range(parts.count)]
    return [
        Chosen(
            grid[rate],
            epoch,
            float(swept.valid_metric[epoch - 1, fold, rate]),
            validated[fold],
            tested[fold],
        )
        for fold, (rate, epoch) in enumerate(best)
    ]


def _heads_of(swept: sweep.Sweep, parts: Parts, fold: int, rate: int) -> list[Head]:
    """The heads of a fold's turns."""
    turns = parts.turns.shape[2]
    words = "training clips" + (", without those held out to choose" if parts.held_out else "")
    return [kept_head(swept.heads, fold * turns + turn, rate, words) for turn in range(turns)]


def _refit(
    data: Labelled, parts: Parts, swept: sweep.Sweep, grid: list[float], best: list[tuple[int, int]]
) -> tuple[Head, list[list[Head]]]:
    """A head for use, of all clips at the folds' median rate and epoch; the folds' of nearly that rate.

    Logits of other rates are of other sizes: one temperature for all of them would fit none.
    """
    rate = float(np.exp(np.median(np.log([grid[rate] for rate, _ in best]))))
    epoch = round(float(np.median([epoch for _, epoch in best])))
    everything = np.ones((len(data.labels), 1, 1), dtype=bool)
    heads = data.train(everything, [[rate]], stop=[epoch]).heads
    nearest = int(np.abs(np.log(grid) - np.log(rate)).argmin())
    words = "all labelled clips, test folds included: the metric was measured on other heads"
    return kept_head(heads, 0, 0, words), [
        _heads_of(swept, parts, fold, nearest) for fold in range(parts.count)
    ]


def _chosen_on(parts: Parts, few: Few | None) -> str:
    if not parts.valid.any():
        return "nothing: with one label a class none is left; the middle rate was taken, and all epochs"
    if not parts.held_out:
        return parts.chosen_on
    again = "that were drawn" if few is not None else "training clips"
    return f"{parts.chosen_on}, held out; then trained again on all {again}"


def _edges(task: Task, best: list[int], grid: list[float]) -> list[str]:
    """A rate beyond those tried may be better."""
    edges = sorted({grid[rate] for rate in best if rate in (0, len(grid) - 1)})
    if edges and not task.rates and len(grid) > 1:
        where = (
            f" in {sum(grid[rate] in edges for rate in best)} of {len(best)} folds" if len(best) > 1 else ""
        )
        tried = ", ".join(f"{rate:g}" for rate in edges)
        return [f"The best learning rate is at the edge of those tried ({tried}){where}."]
    return []


def _drawn(few: Few, parts: Parts, seed: int) -> str:
    where = "" if parts.folds is None else f", none of them in fold {parts.folds[0]}"
    return f"{few.words}, drawn with seed {seed}{where}"


def _scarce(data: Labelled, parts: Parts, few: Few | None) -> list[str]:
    """A class with fewer clips than the shots asked for is not what the number says."""
    if few is None or few.shots is None:
        return []
    counts = np.stack(
        [np.bincount(data.labels_of(own).numpy(), minlength=data.classes) for own in parts.known.T]
    )
    scarce = int((counts < few.shots).any(0).sum())
    return [f"{scarce} classes have fewer than {few.shots} training clips; all were used."] if scarce else []
