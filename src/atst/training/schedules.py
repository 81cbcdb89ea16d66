"""Cosine schedules over optimiser steps, as arrays with one entry a step."""

import numpy as np
from numpy.typing import NDArray

Schedule = NDArray[np.float64]

FINAL_LEARNING_RATE = 1e-6
MOMENTUM = 0.9  # of SGD, in the paper's probe and in fine-tuning


def learning_rate(peak: float, steps: int, warmup: int, final: float = FINAL_LEARNING_RATE) -> Schedule:
    """Linear from exactly 0 to `peak` over `warmup` entries, then cosine towards `final`.

    The peak stands twice, as last entry of the warm-up and first of the cosine, and `final` is just
    missed, as in the published schedule. A warm-up longer than the run is cut to it.
    """
    warmup = min(warmup, steps)
    return np.concatenate([np.linspace(0.0, peak, warmup), cosine(peak, final, steps - warmup)])


def cosine(start: float, end: float, steps: int) -> Schedule:
    """Half a cosine from `start` towards `end`: weight decay 0.04 to 0.4, EMA decay base to 1."""
    return end + 0.5 * (start - end) * (1.0 + np.cos(np.pi * np.arange(steps) / max(steps, 1)))


def scaled_learning_rate(learning_rate: float, effective_batch: int) -> float:
    """Linear scaling rule: the recipe's learning rate is for 256 clips a step."""
    return learning_rate * effective_batch / 256
