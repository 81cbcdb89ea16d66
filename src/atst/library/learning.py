"""A linear classifier of a library's features, trained in a fraction of a second."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import expit, softmax
from scipy.stats import binomtest

from atst.evaluation.simple import logistic_regression
from atst.model.classifier import Head

STRENGTH = 100.0  # C of scikit-learn's logistic regression for one feature; divided by their number
TOLERANCE = 1e-3  # of its solver
THRESHOLD = 0.5  # of a score for a label where there may be several

Features = NDArray[np.float32]


@dataclass(frozen=True)
class Accuracy:
    """How often a classifier is right on stretches that it was not trained on; several labels must all be."""

    right: int
    total: int

    @property
    def interval(self) -> tuple[float, float]:
        """95%, after Wilson."""
        interval = binomtest(self.right, self.total).proportion_ci(method="wilson")
        return float(interval.low), float(interval.high)


@dataclass(frozen=True)
class Learned:
    """Scores of C classes from standardised features (D,)."""

    classes: list[str]
    multi_label: bool
    weight: NDArray[np.float64]  # (C, D)
    bias: NDArray[np.float64]  # (C,)

    def scores(self, x: Features) -> NDArray[np.float64]:
        """(n, C), in 0..1, of standardised features (n, D)."""
        logits = x @ self.weight.T.astype(np.float32) + self.bias
        return expit(logits) if self.multi_label else softmax(logits, axis=1)

    def doubts(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n,) in 0..1: how close the two best classes are, or the score nearest to neither yes nor no."""
        if self.multi_label:
            return 1 - np.abs(2 * scores - 1).min(1)
        ordered = np.sort(scores, axis=1)
        return 1 - (ordered[:, -1] - ordered[:, -2])

    def accuracy(self, x: Features, labels: Sequence[Sequence[str]]) -> Accuracy | None:
        """On stretches with these labels; None without any."""
        if not labels:
            return None
        scores = self.scores(x)
        right = 0
        for row, right_labels in zip(scores, labels, strict=True):
            if self.multi_label:
                right += {self.classes[i] for i in np.flatnonzero(row >= THRESHOLD)} == set(right_labels)
            else:
                right += [self.classes[int(row.argmax())]] == list(right_labels)
        return Accuracy(right, len(labels))

    def head(self, mean: Features, std: Features) -> Head:
        """The same of features as they are."""
        weight = self.weight / std
        return Head([(torch.from_numpy(weight), torch.from_numpy(self.bias - weight @ mean))])


def learn(x: Features, labels: Sequence[Sequence[str]], multi_label: bool) -> Learned | None:
    """Logistic regression on standardised features (n, D); None where there is nothing yet to tell apart."""
    found = sorted({label for names in labels for label in names})
    if multi_label:
        found = [name for name in found if any(name not in names for names in labels)]
    if len(found) < (1 if multi_label else 2):
        return None
    axes, basis = _span(x)
    hot = np.array([[name in names for name in found] for names in labels])
    targets = hot if multi_label else hot.argmax(1)
    weight, bias = logistic_regression(axes, targets, len(found), STRENGTH / x.shape[1], TOLERANCE)
    return Learned(found, multi_label, weight @ basis, bias)


def _span(x: Features) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The features in an orthonormal basis (R, D) of what n < D of them span: the same fit, faster."""
    if len(x) >= x.shape[1]:
        return x.astype(np.float64), np.eye(x.shape[1])
    basis, axes = np.linalg.qr(x.T.astype(np.float64))
    return axes.T, basis.T
