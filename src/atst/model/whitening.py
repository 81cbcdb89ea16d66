"""Partial whitening of a clip's statistics: what nearly all sounds share says less about each.

The few directions along which the vectors of any corpus differ most drown all others in a cosine. They are
shrunk, none is dropped, and nothing is learned from labels.
"""

import torch
from torch import Tensor, nn

DIRECTIONS = 256  # at most; those beyond keep their scale
EXPONENT = 0.35  # 0 keeps all scales, 0.5 makes those of the directions equal; selected on the dev splits
LEAST_CLIPS = 4  # a direction
CLIPS = 2000  # of a corpus, to fit it by


class Whitening(nn.Module):
    """Vectors `(N, F)` to vectors of the same size: standardised, the largest directions shrunk."""

    mean: Tensor
    std: Tensor
    directions: Tensor
    gains: Tensor

    def __init__(self, size: int, directions: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("std", torch.ones(size))
        self.register_buffer("directions", torch.zeros(directions, size))
        self.register_buffer("gains", torch.ones(directions))

    @classmethod
    def fit(cls, vectors: Tensor) -> "Whitening":
        """From the vectors `(N, F)` of unlabelled clips, `LEAST_CLIPS` for each direction."""
        mean, std = vectors.mean(0), vectors.std(0, correction=0) + 1e-6
        count = min(DIRECTIONS, len(vectors) // LEAST_CLIPS, vectors.shape[1])
        _, singular, directions = torch.linalg.svd((vectors - mean) / std, full_matrices=False)
        fitted = cls(vectors.shape[1], count)
        fitted.mean.copy_(mean)
        fitted.std.copy_(std)
        fitted.directions.copy_(directions[:count])
        largest = singular[:count].clamp_min(1e-6)
        fitted.gains.copy_((largest / largest[-1]) ** (-2.0 * EXPONENT))  # of variances
        return fitted

    def forward(self, vectors: Tensor) -> Tensor:
        standard = (vectors - self.mean) / self.std
        return standard + ((standard @ self.directions.T) * (self.gains - 1.0)) @ self.directions
