"""Metrics of predictions, and their confidence intervals."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor

from atst.output.progress import track

RESAMPLES = 2000
# What the interval of a metric is over, for reports.
BOOTSTRAP = {"accuracy": "test clips", "mAP": "test clips, its draws recentred on the value"}
AT_ONCE = 2**25  # scores that are ranked at a time; this takes some 60 bytes for each


def score(metric: Literal["accuracy", "mAP"], logits: Tensor, labels: Tensor) -> Tensor:
    """The metric of `logits` (n, ..., C) against `labels` (n,) or (n, C), as (...), in 0..1."""
    return accuracy(logits, labels) if metric == "accuracy" else mean_average_precision(logits, labels)


def accuracy(logits: Tensor, labels: Tensor) -> Tensor:
    """Share of clips whose largest logit is their class. (n, ..., C), (n,) -> (...)."""
    hit = logits.argmax(-1) == labels.reshape(-1, *[1] * (logits.ndim - 2))
    return hit.double().mean(0)


def mean_average_precision(scores: Tensor, labels: Tensor) -> Tensor:
    """Mean over classes of the average precision. (n, ..., C), (n, C) -> (...).

    Classes without a positive clip, where it is undefined, are left out; NaN if that leaves none.
    """
    return average_precision(scores, labels).nanmean(-1)


def average_precision(scores: Tensor, labels: Tensor) -> Tensor:
    """Average precision of each class. (n, ..., C), (n, C) -> (..., C); NaN where no clip is positive.

    Equal to scikit-learn's, equal scores included; but of many score columns at once.
    """
    weight = torch.ones(len(scores), dtype=torch.float64, device=scores.device)
    classes = max(1, AT_ONCE * scores.shape[-1] // max(1, scores.numel()))
    ranked = map(_ranked, scores.split(classes, -1), labels.split(classes, -1))
    return torch.cat([_weighted(*classes, weight) for classes in ranked], -1)


def _ranked(scores: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """By class, best first, (..., C, n): clips, their labels, and the place of the last with each score."""
    n = len(scores)
    targets = labels.reshape(n, *[1] * (scores.ndim - 2), labels.shape[-1]).expand_as(scores)
    ordered, order = (-scores).movedim(0, -1).contiguous().sort(-1)  # (..., C, n), best first
    # Clips of equal score have the rank of the last of them.
    last = torch.searchsorted(ordered, ordered, right=True) - 1
    return order, targets.movedim(0, -1).gather(-1, order), last


def _weighted(order: Tensor, hit: Tensor, last: Tensor, weights: Tensor) -> Tensor:
    """Average precision (..., C) of what `_ranked` gave, for weights (n,) of clips."""
    weight = weights[order]
    positive = hit.double() * weight
    precision = (positive.cumsum(-1) / weight.cumsum(-1).clamp_min(1e-300)).gather(-1, last)
    return (precision * positive).sum(-1) / positive.sum(-1)


def over_folds(
    metric: Literal["accuracy", "mAP"], logits: Sequence[Tensor], labels: Sequence[Tensor], seed: int
) -> tuple[list[float], float, tuple[float, float]]:
    """The metric on each fold's clips, the mean, and its 95% bootstrap interval over clips."""
    folds = list(zip(logits, labels, strict=True))
    values = [float(score(metric, *fold)) for fold in folds]
    value = float(np.mean(values))
    draws = [bootstrap_values(metric, *fold, seed + i) for i, fold in enumerate(folds)]
    return values, value, bootstrap_interval(metric, draws, value)


def bootstrap_values(
    metric: Literal["accuracy", "mAP"],
    logits: Tensor,
    labels: Tensor,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> NDArray[np.float64]:
    """The metric on each of `resamples` draws, with replacement, of the clips that it was measured on.

    `logits` (n, C), `labels` (n,) or (n, C). `bootstrap_interval` makes an interval of the result.
    """
    if metric == "accuracy":
        return resampled_means((logits.argmax(-1) == labels).numpy(), seed, resamples)
    n, ranked = len(logits), _ranked(logits, labels)
    counts = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), resamples)
    draws = (torch.from_numpy(row).double().to(logits.device) for row in counts)
    values = [_weighted(*ranked, row).nanmean().item() for row in track(draws, "mAP interval", resamples)]
    return np.array(values)


def bootstrap_interval(
    metric: Literal["accuracy", "mAP"], draws: list[NDArray[np.float64]], value: float
) -> tuple[float, float]:
    """95% interval of a metric that is `value`, the mean over folds, from each fold's `bootstrap_values`.

    Average precision is larger on draws than on the clips themselves: a positive clip that is drawn twice
    ranks beside itself. So the draws of mAP are moved until their median is `value`.
    """
    values = np.mean(draws, axis=0)
    if metric == "mAP":
        values = (values + value - np.nanmedian(values)).clip(0, 1)
    return interval(values)


def paired_bootstrap(
    correct_a: NDArray, correct_b: NDArray, seed: int = 0, resamples: int = RESAMPLES
) -> tuple[float, float, float]:
    """The difference of model A and B on the same clips: (difference, low, high), 95% interval.

    `correct_a`, `correct_b` (n,): whether each got clip i right, in the same order.
    """
    assert len(correct_a) == len(correct_b), "paired: one entry a clip, the same clips"
    difference = np.asarray(correct_a, dtype=np.float64) - np.asarray(correct_b, dtype=np.float64)
    return float(difference.mean()), *interval(resampled_means(difference, seed, resamples))


def resampled_means(values: NDArray, seed: int, resamples: int = RESAMPLES) -> NDArray[np.float64]:
    """The mean of `values` (n,) in each of `resamples` draws of n clips with replacement.

    A mean depends only on how often each distinct value is drawn, so that is what is drawn.
    """
    distinct, counts = np.unique(np.asarray(values, dtype=np.float64), return_counts=True)
    drawn = np.random.default_rng(seed).multinomial(len(values), counts / len(values), resamples)
    return drawn @ distinct / len(values)


def mean_interval(values: NDArray[np.float64]) -> tuple[float, float]:
    """95% interval of the mean of `values` (n,), two or more, by Student's t; cut to 0..1."""
    half = stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return float(max(0.0, values.mean() - half)), float(min(1.0, values.mean() + half))


def interval(values: NDArray[np.float64]) -> tuple[float, float]:
    """The 2.5th and 97.5th percentile."""
    low, high = np.nanpercentile(values, [2.5, 97.5])
    return float(low), float(high)
