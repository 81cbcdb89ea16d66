"""The linear probe of the paper: how much a linear layer gets out of frozen features."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from atst.evaluation import sweep
from atst.evaluation.features import ProbeData
from atst.evaluation.result import Heads, Kept, Probe, measure
from atst.evaluation.sweep import Sweep
from atst.model.classifier import Head
from atst.scoring.clips import scarce, unseen
from atst.scoring.result import Selection
from atst.scoring.splits import FewShot, Splits, drawn_clips
from atst.tasks import Task

LEARNING_RATES = tuple(float(f"{value:.2g}") for value in np.logspace(-5, 0, 12))  # for a batch of 256
PAPER_SETTINGS = {"epochs": sweep.EPOCHS, "batch": sweep.BATCH}


def linear_probe(data: ProbeData) -> Probe:
    """Train linear classifiers on frozen features and measure them on the test clips.

    BatchNorm without affine and a linear layer, SGD with momentum 0.9, 100 epochs, batch 1024, cosine to 0.
    Learning rate and epoch are the best on validation clips; the test clips are used once, after that. Where
    the validation clips were held out of the training clips, the classifier that is tested is trained again
    on all of them, with the selected learning rate and number of epochs. A temperature is fitted on the
    validation clips. With only one label of each class there are no validation clips: the middle learning
    rate is used, for all epochs.
    """
    splits, few_shot = data.splits, data.few_shot
    grid = list(data.task.learning_rates or LEARNING_RATES)
    if splits.valid.any():
        train = splits.train_and_valid[:, :, None] & ~splits.holdouts
        swept = _train(data, train, [grid] * splits.count, valid=splits.holdouts)
    else:
        grid, stop = [grid[len(grid) // 2]], [sweep.EPOCHS] * splits.count
        swept = _train(data, splits.train[:, :, None], [grid] * splits.count, stop=stop)
    best = [swept.best(fold) for fold in range(splits.count)]  # (index of the learning rate, epoch)
    selected = [_selection(splits, swept, grid, fold, *point) for fold, point in enumerate(best)]
    heads = _heads(data, swept, best, selected)
    if splits.folds is not None and few_shot is None:
        kept = _refit(data, swept, grid, selected)
    else:  # with few labels the kept head has seen no more of them: it is that of the first fold
        trained_on = drawn_clips(few_shot, splits, data.seed) if few_shot else "all training clips"
        kept = Kept(heads[0].tested, trained_on, [heads[0].validated])
    warnings = _edges(data.task, [index for index, _ in best], grid)
    warnings += scarce(data.task, data.extracted.rows, splits.train_and_valid, few_shot)
    warnings += unseen(data.task, data.extracted.rows, splits.train_and_valid, splits.test)
    return measure(
        data,
        swept,
        selected,
        heads,
        kept,
        PAPER_SETTINGS,
        warnings,
        protocol="paper",
        selected_on=_selected_on(splits, few_shot),
        learning_rates=grid,
        trained_on="all training clips" if few_shot is None else few_shot.description,
    )


def _train(
    data: ProbeData,
    rows: NDArray[np.bool_],
    learning_rates: Sequence[Sequence[float]],
    valid: NDArray[np.bool_] | None = None,
    stop: Sequence[int] | None = None,
) -> Sweep:
    """Train on `rows` (n, F, K) with `learning_rates` (F, R) until the best epoch on `valid`, or `stop` (F,).

    All folds at once, or one by one where they share few clips: a step gathers the rows of all.
    """
    used, folds, count = torch.from_numpy(rows).any(2), range(rows.shape[1]), len(learning_rates[0])
    together = len(folds) == 1 or 2 * used.sum() >= used.any(1).sum() * len(folds)
    sweeps = [
        sweep.train(
            data.features,
            data.labels,
            data.classes,
            torch.from_numpy(rows[:, some].reshape(len(rows), -1)),
            torch.tensor(learning_rates[some]),
            valid_rows=None if valid is None else torch.from_numpy(valid[:, some].reshape(len(rows), -1)),
            stop=None if stop is None else torch.tensor(stop[some])[:, None].expand(-1, count),
            holdouts=rows.shape[2],
            seed=data.seed,
        )
        for some in ([slice(None)] if together else [slice(fold, fold + 1) for fold in folds])
    ]
    return sweeps[0] if together else sweep.side_by_side(sweeps)


def _selection(
    splits: Splits, swept: Sweep, grid: list[float], fold: int, index: int, epoch: int
) -> Selection:
    valid = float(swept.valid_metric[epoch - 1, fold, index])
    return Selection(
        fold=splits.folds[fold] if splits.folds else None,
        learning_rate=grid[index],
        epoch=epoch,
        epochs=sweep.EPOCHS,
        valid=round(valid, 6) if splits.valid.any() else None,
    )


def _heads(
    data: ProbeData, swept: Sweep, best: list[tuple[int, int]], selected: list[Selection]
) -> list[Heads]:
    """Of each fold; where clips were held out the tested head is trained again with them."""
    validated = [_validated(data.splits, swept, fold, index) for fold, (index, _) in enumerate(best)]
    if not data.splits.held_out:
        return [Heads(of_fold, of_fold[0]) for of_fold in validated]
    learning_rates, stop = [[one.learning_rate] for one in selected], [one.epoch for one in selected]
    again = _train(data, data.splits.train_and_valid[:, :, None], learning_rates, stop=stop).heads
    return [Heads(of_fold, again.head(fold)) for fold, of_fold in enumerate(validated)]


def _validated(splits: Splits, swept: Sweep, fold: int, index: int) -> list[Head]:
    """The heads of the hold-outs of a fold."""
    repeats = splits.holdouts.shape[2]
    return [swept.heads.head(fold * repeats + i, index) for i in range(repeats)]


def _refit(data: ProbeData, swept: Sweep, grid: list[float], selected: list[Selection]) -> Kept:
    """A head of all clips at the folds' median learning rate and epoch.

    Logits of other learning rates are of other sizes: one temperature for all of them would fit none. So it
    is fitted with the folds' heads of nearly that learning rate.
    """
    learning_rate = float(np.exp(np.median(np.log([one.learning_rate for one in selected]))))
    epoch = round(float(np.median([one.epoch for one in selected])))
    everything = np.ones((len(data.labels), 1, 1), dtype=bool)
    head = _train(data, everything, [[learning_rate]], stop=[epoch]).heads.head(0)
    nearest = int(np.abs(np.log(grid) - np.log(learning_rate)).argmin())
    validated = [_validated(data.splits, swept, fold, nearest) for fold in range(data.splits.count)]
    return Kept(
        head, "all labelled clips, test folds included: the metric was measured on other heads", validated
    )


def _selected_on(splits: Splits, few_shot: FewShot | None) -> str:
    if not splits.valid.any():
        return "no validation clips: with one label a class the middle learning rate and all epochs are used"
    if not splits.held_out:
        return splits.selected_on
    clips = "drawn" if few_shot is not None else "training"
    return f"{splits.selected_on}, held out; then trained again on all {clips} clips"


def _edges(task: Task, best: list[int], grid: list[float]) -> list[str]:
    """A learning rate beyond those tried may be better."""
    edges = sorted({grid[index] for index in best if index in (0, len(grid) - 1)})
    if not edges or task.learning_rates or len(grid) == 1:
        return []
    folds = f" in {sum(grid[index] in edges for index in best)} of {len(best)} folds" if len(best) > 1 else ""
    tried = ", ".join(f"{value:g}" for value in edges)
    return [f"The best learning rate is at the edge of those tried ({tried}){folds}."]
