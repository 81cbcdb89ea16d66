"""The linear classifier that a probe and a fine-tuning start from."""

import torch
from torch import Tensor

INIT_STD = 0.01


def initial_weight(width: int, classes: int, seed: int) -> Tensor:
    """(D, C), normal with standard deviation 0.01: every head of the sweep starts from it."""
    return torch.randn(width, classes, generator=torch.Generator().manual_seed(seed)) * INIT_STD
