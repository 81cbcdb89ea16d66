"""Two classifiers without any choice: logistic regression and nearest neighbours, in seconds."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from atst.evaluation.features import ProbeData
from atst.evaluation.knn import NEIGHBOURS, knn_scores
from atst.evaluation.lazy import select
from atst.evaluation.result import Heads, Kept, Probe, measure, nearest_neighbours
from atst.model.classifier import Head
from atst.output.progress import track
from atst.scoring.clips import scarce, unseen
from atst.scoring.result import Selection
from atst.scoring.splits import drawn_clips, train_test_splits

C = 0.01  # inverse strength of the L2 penalty, as scikit-learn has it
ITERATIONS = 1000  # of L-BFGS at most; a few dozen are enough
ABSENT = -1e4  # logit of a class without training clips
SIMPLE_SETTINGS = {"C": C, "iterations at most": ITERATIONS, "neighbours": NEIGHBOURS, "standardised": True}


def simple_probe(data: ProbeData) -> Probe:
    """Fit logistic regression and nearest neighbours to standardised features, and test both.

    Each value has the mean 0 and the standard deviation 1 over the training clips. Logistic regression has an
    L2 penalty of C = 0.01, one against the rest where clips have several labels; the 10 nearest neighbours by
    cosine vote, once each. Nothing is selected, so the clips of a validation split are training clips, and so
    are all of few drawn ones. All features of a task are in memory, and scikit-learn computes on the CPU.
    """
    data = data.resplit(data.seed, train_test_splits)
    task, splits, few_shot = data.task, data.splits, data.few_shot
    heads = [fit(data, train) for train in track(splits.train.T, f"logistic regression of {task.name}")]
    votes = [neighbours(data, *clips) for clips in zip(splits.train.T, splits.test.T, strict=True)]
    kept, trained_on = heads[0], "all training clips"
    if few_shot is not None:
        trained_on = drawn_clips(few_shot, splits, data.seed)
    elif splits.folds is not None:
        kept = fit(data, np.ones(len(data.labels), dtype=bool))
        trained_on = "all labelled clips, test folds included: the metric was measured on other heads"
    folds: list[int] | list[None] = splits.folds or [None]
    warnings = scarce(task, data.extracted.rows, splits.train, few_shot)
    return measure(
        data,
        None,
        [Selection(fold, learning_rate=0, epoch=0, epochs=0, valid=None) for fold in folds],
        [Heads([head], head) for head in heads],
        Kept(kept, trained_on, [[head] for head in heads]),
        SIMPLE_SETTINGS,
        warnings + unseen(task, data.extracted.rows, splits.train, splits.test),
        knn=nearest_neighbours(data, votes, "cosine of the standardised features"),
        protocol="simple",
        classifier=f"logistic regression, C = {C:g}",
        selected_on="nothing is selected; the clips of a validation split are training clips",
        learning_rates=[],
        trained_on="all training clips" if few_shot is None else few_shot.description,
    )


def fit(data: ProbeData, train: NDArray[np.bool_]) -> Head:
    """Logistic regression on the clips in a mask (n,); the standardisation is part of the head."""
    x, labels = select(data.features, data.index(train))[:].cpu().numpy(), data.labels_of(train).numpy()
    scaler = StandardScaler().fit(x)
    weight, bias = logistic_regression(scaler.transform(x), labels, data.classes)
    weight = weight / scaler.scale_
    return Head([(torch.from_numpy(weight), torch.from_numpy(bias - weight @ scaler.mean_))])


def neighbours(data: ProbeData, train: NDArray[np.bool_], test: NDArray[np.bool_]) -> Tensor:
    """The share (m, C) of the nearest training clips in each class, for the test clips in a mask (n,).

    The first of several classes with as many votes wins, as in scikit-learn.
    """
    x = [select(data.features, data.index(clips))[:].cpu().numpy() for clips in (train, test)]
    scaler = StandardScaler().fit(x[0])
    train_x, test_x = (torch.from_numpy(scaler.transform(part)) for part in x)
    return knn_scores(train_x, data.labels_of(train), test_x, data.classes, ties=0)


def logistic_regression(
    x: NDArray[np.floating[Any]], labels: NDArray[Any], classes: int, strength: float = C, tol: float = 1e-4
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weight (C, D) and bias (C,) for features (n, D) and labels (n,), or multi-hot (n, C).

    A class that no clip has is never predicted. `strength` is scikit-learn's C, `tol` that of its solver.
    """
    if labels.ndim == 2:  # one against the rest
        each = [logistic_regression(x, column.astype(int), 2, strength, tol) for column in labels.T]
        return np.stack([w[1] - w[0] for w, _ in each]), np.array([b[1] - b[0] for _, b in each])
    weight, bias = np.zeros((classes, x.shape[1])), np.full(classes, ABSENT)
    there = np.unique(labels)
    bias[there] = 0
    if len(there) > 1:
        found = LogisticRegression(C=strength, max_iter=ITERATIONS, tol=tol).fit(x, labels)
        there = there[-len(found.coef_) :]  # of two classes scikit-learn fits the second against the first
        weight[there], bias[there] = found.coef_, found.intercept_
    return weight, bias
