"""HEAR's evaluation: how much a shallow network gets out of frozen features.

Turian et al. 2022, "HEAR: Holistic Evaluation of Audio Representations", arXiv 2203.03022: downstream
training, and its published grid.
"""

from typing import Any

import numpy as np
import torch

from atst.evaluation import mlp
from atst.evaluation.heads import Head, Labelled, prepare
from atst.evaluation.measured import Chosen, Probe, Search, measure
from atst.evaluation.mlp import Point, Trained
from atst.evaluation.results import Tried
from atst.output.progress import track
from atst.scoring.per_class import unseen
from atst.scoring.splits import Splits
from atst.tasks import Task

DRAWN = 8  # of the 16 points of the grid
HEAR_SETTINGS = {
    "epochs at most": mlp.EPOCHS,
    "batch": mlp.BATCH,
    "width": mlp.WIDTH,
    "dropout": mlp.DROPOUT,
}


def hear_probe(model: Any, task: Task, *, seed: int = 0, cache: bool = True, device: str = "auto") -> Probe:
    """Train shallow networks on frozen features and measure the best on the test clips.

    8 points of the grid of layers, rate and initialisation, drawn at random, are trained with early stopping
    (`mlp.train`); the best on the validation clips is tested, not trained on those again. With folds
    only the first chooses among the points; the chosen one is trained for each of the others. The test clips
    of a fold are used once, after that; those of the fold after the first have chosen the point.

    Args:
        model: anything with the `embed`, `depth`, `name` and `fingerprint` of a model.
        task: the labelled clips.
        seed: of the drawn points, the initial weights, order, dropout, held-out clips and the bootstrap.
        cache: whether features are kept on disk and read back.
        device: `auto`, `cpu`, `cuda` or `mps`; where the networks are trained.

    Raises:
        TrainingError: there is only one training clip.
    """
    data, splits, features = prepare(model, task, seed, cache, device)
    search = _search(data, splits)
    on = "training clips, without those held out to choose" if splits.held_out else "all training clips"
    heads = [_head(trained, on) for trained in search.folds]
    point = search.folds[0].point
    return measure(
        model,
        data,
        splits,
        features,
        search,
        [
            Chosen(
                point.learning_rate,
                own.epoch,
                own.metric,
                [head],
                head,
                {"hidden": point.hidden, "init": point.init},
            )
            for own, head in zip(search.folds, heads, strict=True)
        ],
        (_head_of_all(data, search), [[head] for head in heads]) if splits.folds else None,
        HEAR_SETTINGS,
        unseen(task, features.rows, splits.train, splits.test),
        protocol="hear",
        classifier=f"MLP {point.hidden} x {mlp.WIDTH}",
        selected_on=_selected_on(splits),
        learning_rates=sorted({own.point.learning_rate for own in search.tried}),
        tried=[
            Tried(own.point.hidden, own.point.learning_rate, own.point.init, own.epoch, round(own.metric, 6))
            for own in search.tried
        ],
        trained_on=on,
    )


def drawn_points(seed: int) -> list[Point]:
    """The points of the grid that are tried, in its order."""
    return [mlp.GRID[i] for i in np.sort(np.random.default_rng(seed).permutation(len(mlp.GRID))[:DRAWN])]


def _search(data: Labelled, splits: Splits) -> Search:
    points = drawn_points(data.seed)
    tried = [_train(data, point, splits, 0) for point in track(points, f"grid of {data.task.name}")]
    best = max(tried, key=lambda own: own.rank)
    for own in tried:
        if own is not best:
            own.layers.clear()  # nobody needs their weights any more
    others = track(range(1, splits.count), f"other folds of {data.task.name}")
    return Search(tried, [best, *[_train(data, best.point, splits, fold) for fold in others]])


def _train(data: Labelled, point: Point, splits: Splits, fold: int) -> Trained:
    rows = (torch.from_numpy(part[:, fold]) for part in (splits.train, splits.valid))
    return mlp.train(data.features, data.labels, data.classes, point, *rows, seed=data.seed)


def _head(trained: Trained, trained_on: str) -> Head:
    *hidden, (weight, bias) = trained.layers
    return Head(weight, bias, trained_on, hidden)


def _head_of_all(data: Labelled, search: Search) -> Head:
    """A head for use, trained on all clips at the chosen point for the folds' median epoch."""
    epoch = round(float(np.median([own.epoch for own in search.folds])))
    everything = torch.ones(len(data.labels), dtype=torch.bool)
    point = search.folds[0].point
    trained = mlp.train(
        data.features, data.labels, data.classes, point, everything, epochs=epoch, seed=data.seed
    )
    return _head(
        trained,
        f"all labelled clips, test folds included, for the folds' median of {epoch} epochs: "
        "the metric was measured on other heads",
    )


def _selected_on(splits: Splits) -> str:
    if not splits.held_out:
        return "the validation split"
    return splits.held_out + (", the grid's point with the first test fold only" if splits.folds else "")
