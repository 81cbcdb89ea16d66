"""Calibration of scores: a temperature fitted on validation clips, and the remaining error.

Temperature scaling and expected calibration error as in Guo et al. 2017, arXiv 1706.04599.
"""

import math

import torch
from scipy.optimize import minimize_scalar
from torch import Tensor, nn

BINS = 15
RANGE = (0.1, 10.0)  # of temperatures: few validation clips, all right or all wrong, would push them further
TOLERANCE = 1e-9  # of its logarithm


def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """The T > 0 for which `logits / T` (n, C) explain `labels` (n,) or multi-hot (n, C) best.

    Minimises the negative log-likelihood, of a softmax or of independent sigmoids, over log T between 0.1 and
    10: the likelihood is unimodal in it. 1 if there are no clips.
    """
    if len(logits) == 0:
        return 1.0
    logits = logits.detach().double().cpu()

    def loss(log: float) -> float:
        return _likelihood_loss(logits / math.exp(log), labels)

    low, high = (math.log(value) for value in RANGE)
    found = minimize_scalar(loss, bounds=(low, high), method="bounded", options={"xatol": TOLERANCE})
    return math.exp(min((low, high, found.x), key=loss))  # it never tries the ends


def expected_calibration_error(logits: Tensor, labels: Tensor, bins: int = BINS) -> float:
    """The mean gap between confidence and accuracy, in 0..1; NaN without clips.

    One label a clip (n,): the largest softmax score against whether it is correct. Multi-label (n, C): every
    sigmoid score against its label. Scores are compared in `bins` equal intervals.
    """
    logits = logits.detach().double().cpu()
    if labels.ndim == 1:
        confidence, guess = logits.softmax(-1).max(-1)
        right = (guess == labels.cpu()).double()
    else:
        confidence, right = logits.sigmoid().flatten(), labels.double().cpu().flatten()
    if len(confidence) == 0:
        return math.nan
    which = (confidence * bins).long().clamp_max(bins - 1)
    gap = torch.zeros(bins, dtype=torch.float64).index_add_(0, which, confidence - right)
    return float(gap.abs().sum() / len(confidence))


def _likelihood_loss(logits: Tensor, labels: Tensor) -> float:
    if labels.ndim == 1:
        return float(nn.functional.cross_entropy(logits, labels.cpu()))
    return float(nn.functional.binary_cross_entropy_with_logits(logits, labels.cpu().double()))
