"""The linear probe of the paper: how much a linear layer gets out of frozen features."""

from typing import Any

import numpy as np

from atst.evaluation import sweep
from atst.evaluation.features import Features
from atst.evaluation.heads import Head, Labelled, kept_head, prepare
from atst.evaluation.measured import Chosen, Probe, measure
from atst.scoring.per_class import unseen
from atst.scoring.splits import FewShot, Splits
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
    few_shot: FewShot | None = None,
    features: Features | None = None,
) -> Probe:
    """Train linear classifiers on frozen features and measure them on the test clips.

    BatchNorm without affine and a linear layer, SGD with momentum 0.9, 100 epochs, batch 1024, cosine to 0.
    Rate and epoch are the best on validation clips; the test clips are used once, after that. Where the
    validation clips had to be held out of the training clips, in repeated hold-outs if they are few, the
    classifier that is tested is trained again on all of them, with the chosen rate and as many epochs.
    A temperature is fitted on the validation clips.

    Args:
        model: anything with the `embed`, `depth`, `name` and `fingerprint` of a model.
        task: the labelled clips.
        seed: of the initial weights, the order of the data, held-out clips and the bootstrap.
        cache: whether features are kept on disk and read back.
        device: `auto`, `cpu`, `cuda` or `mps`; where the classifiers are trained.
        few_shot: the number of labels for training and selection; the seed draws them. If there is only
            one of each class, none is left to choose on: the middle rate is taken, and all epochs.
        features: those of the task's clips, if they have been extracted already.
    """
    data, splits, features = prepare(model, task, seed, cache, device, few_shot, features)
    grid, swept = _sweep(data, splits, list(task.learning_rates or RATES))
    best = [swept.best(fold) for fold in range(splits.count)]  # (index of the rate, epoch)
    chosen = _chosen(data, splits, swept, grid, best)
    # With few labels the kept head has seen no more of them: it is that of the first fold.
    refit = None if splits.folds is None or few_shot is not None else _refit(data, splits, swept, grid, best)
    probe = measure(
        model,
        data,
        splits,
        features,
        swept,
        chosen,
        refit,
        PAPER_SETTINGS,
        _edges(task, [rate for rate, _ in best], grid) + _scarce(data, splits, few_shot),
        protocol="paper",
        selected_on=_selected_on(splits, few_shot),
        learning_rates=grid,
        trained_on="all training clips" if few_shot is None else few_shot.description,
    )
    probe.result.warnings += unseen(task, features.rows, splits.train_and_valid, splits.test)
    if few_shot is not None:
        probe.head.trained_on = _drawn(few_shot, splits, seed)
    return probe


def _sweep(data: Labelled, splits: Splits, grid: list[float]) -> tuple[list[float], sweep.Sweep]:
    """The rates that were tried, the middle one if there is nothing to choose on, and what training gave."""
    if splits.valid.any():
        rows = splits.train_and_valid[:, :, None] & ~splits.holdouts
        return grid, data.train(rows, [grid] * splits.count, valid=splits.holdouts)
    grid = [grid[len(grid) // 2]]
    stop = [sweep.EPOCHS] * splits.count
    return grid, data.train(splits.train_and_valid[:, :, None], [grid] * splits.count, stop=stop)


def _chosen(
    data: Labelled, splits: Splits, swept: sweep.Sweep, grid: list[float], best: list[tuple[int, int]]
) -> list[Chosen]:
    validated = [_heads_of(swept, splits, fold, rate) for fold, (rate, _) in enumerate(best)]
    tested = [heads[0] for heads in validated]
    if splits.held_out:
        rates, stop = [[grid[rate]] for rate, _ in best], [epoch for _, epoch in best]
        heads = data.train(splits.train_and_valid[:, :, None], rates, stop=stop).heads
        tested = [kept_head(heads, fold, 0, "training and held-out clips") for fold in range(splits.count)]
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


def _heads_of(swept: sweep.Sweep, splits: Splits, fold: int, rate: int) -> list[Head]:
    """The heads of the hold-outs of a fold."""
    repeats = splits.holdouts.shape[2]
    words = "training clips" + (", without those held out to choose" if splits.held_out else "")
    return [kept_head(swept.heads, fold * repeats + i, rate, words) for i in range(repeats)]


def _refit(
    data: Labelled, splits: Splits, swept: sweep.Sweep, grid: list[float], best: list[tuple[int, int]]
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
        _heads_of(swept, splits, fold, nearest) for fold in range(splits.count)
    ]


def _selected_on(splits: Splits, few_shot: FewShot | None) -> str:
    if not splits.valid.any():
        return "nothing: with one label a class none is left; the middle rate was taken, and all epochs"
    if not splits.held_out:
        return splits.selected_on
    again = "that were drawn" if few_shot is not None else "training clips"
    return f"{splits.selected_on}, held out; then trained again on all {again}"


def _edges(task: Task, best: list[int], grid: list[float]) -> list[str]:
    """A rate beyond those tried may be better."""
    edges = sorted({grid[rate] for rate in best if rate in (0, len(grid) - 1)})
    if edges and not task.learning_rates and len(grid) > 1:
        where = (
            f" in {sum(grid[rate] in edges for rate in best)} of {len(best)} folds" if len(best) > 1 else ""
        )
        tried = ", ".join(f"{rate:g}" for rate in edges)
        return [f"The best learning rate is at the edge of those tried ({tried}){where}."]
    return []


def _drawn(few_shot: FewShot, splits: Splits, seed: int) -> str:
    where = "" if splits.folds is None else f", none of them in fold {splits.folds[0]}"
    return f"{few_shot.description}, drawn with seed {seed}{where}"


def _scarce(data: Labelled, splits: Splits, few_shot: FewShot | None) -> list[str]:
    """A class with fewer clips than the shots asked for is not what the number says."""
    if few_shot is None or few_shot.shots is None:
        return []
    counts = np.stack(
        [np.bincount(data.labels_of(own).numpy(), minlength=data.classes) for own in splits.train_and_valid.T]
    )
    scarce = int((counts < few_shot.shots).any(0).sum())
    return (
        [f"{scarce} classes have fewer than {few_shot.shots} training clips; all were used."]
        if scarce
        else []
    )
