"""HEAR's evaluation: how much a shallow network gets out of frozen features.

Turian et al. 2022, "HEAR: Holistic Evaluation of Audio Representations", arXiv 2203.03022: downstream
training, and its published grid.
"""

import numpy as np
import torch

from atst.evaluation import mlp
from atst.evaluation.features import ProbeData
from atst.evaluation.mlp import Point, Search, Trained
from atst.evaluation.result import Heads, Kept, Probe, Tried, measure
from atst.output.progress import track
from atst.scoring.clips import unseen
from atst.scoring.result import Selection
from atst.scoring.splits import Splits

DRAWN = 8  # of the 16 points of the grid
HEAR_SETTINGS = {"epochs at most": mlp.EPOCHS, "batch": mlp.BATCH, "width": mlp.WIDTH, "dropout": mlp.DROPOUT}


def hear_probe(data: ProbeData) -> Probe:
    """Train shallow networks on frozen features and measure the best on the test clips.

    8 points of the grid of layers, learning rate and initialisation, drawn at random, are trained with early
    stopping (`mlp.train`); the best on the validation clips is tested, not trained on those again. With folds
    the point is selected on the first fold only, and trained for each of the others. The test clips of a fold
    are used once, after that; those of the fold after the first have been validation clips of the selection.
    The data's seed draws the points too. Raises `TrainingError` if there is only one training clip.
    """
    search, splits = _search(data), data.splits
    point, tested = search.folds[0].point, [trained.head for trained in search.folds]
    trained_on = "training clips, without those held out" if splits.held_out else "all training clips"
    kept = Kept(tested[0], trained_on, [tested[:1]])
    return measure(
        data,
        search,
        [
            Selection(
                fold=splits.folds[i] if splits.folds else None,
                learning_rate=point.learning_rate,
                epoch=trained.epoch,
                epochs=len(trained.train_loss),
                valid=round(trained.metric, 6),
                hidden=point.hidden,
                init=point.init,
            )
            for i, trained in enumerate(search.folds)
        ],
        [Heads([head], head) for head in tested],
        _refit(data, search) if splits.folds else kept,
        HEAR_SETTINGS,
        unseen(data.task, data.extracted.rows, splits.train, splits.test),
        protocol="hear",
        classifier=f"MLP {point.hidden} x {mlp.WIDTH}",
        selected_on=_selected_on(splits),
        learning_rates=sorted({trained.point.learning_rate for trained in search.tried}),
        tried=[_tried(trained) for trained in search.tried],
        trained_on=trained_on,
    )


def drawn_points(seed: int) -> list[Point]:
    """The points of the grid that are tried, in its order."""
    return [mlp.GRID[i] for i in np.sort(np.random.default_rng(seed).permutation(len(mlp.GRID))[:DRAWN])]


def _search(data: ProbeData) -> Search:
    points = drawn_points(data.seed)
    tried = [_train(data, point, 0) for point in track(points, f"grid of {data.task.name}")]
    best = max(tried, key=lambda trained: trained.rank)
    for trained in tried:
        if trained is not best:
            trained.head.layers.clear()  # nobody needs their weights any more
    others = track(range(1, data.splits.count), f"other folds of {data.task.name}")
    return Search(tried, [best, *[_train(data, best.point, fold) for fold in others]])


def _train(data: ProbeData, point: Point, fold: int) -> Trained:
    rows = (torch.from_numpy(split[:, fold]) for split in (data.splits.train, data.splits.valid))
    return mlp.train(data.features, data.labels, data.classes, point, *rows, seed=data.seed)


def _refit(data: ProbeData, search: Search) -> Kept:
    """A network of all clips at the selected point for the folds' median epoch."""
    epoch = round(float(np.median([trained.epoch for trained in search.folds])))
    everything = torch.ones(len(data.labels), dtype=torch.bool)
    point, seed = search.folds[0].point, data.seed
    trained = mlp.train(data.features, data.labels, data.classes, point, everything, epochs=epoch, seed=seed)
    trained_on = (
        f"all labelled clips, test folds included, for the folds' median of {epoch} epochs: "
        "the metric was measured on other heads"
    )
    return Kept(trained.head, trained_on, [[fold.head] for fold in search.folds])


def _tried(trained: Trained) -> Tried:
    point = trained.point
    return Tried(point.hidden, point.learning_rate, point.init, trained.epoch, round(trained.metric, 6))


def _selected_on(splits: Splits) -> str:
    if not splits.held_out:
        return "the validation split"
    return splits.held_out + (", the grid's point with the first test fold only" if splits.folds else "")
