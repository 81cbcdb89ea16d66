"""Partial whitening of a clip's statistics: what nearly all sounds share says less about each.

The few directions along which the vectors of any corpus differ most drown all others in a cosine. They are
shrunk, none is dropped, and nothing is learned from labels.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from atst.cores import release_memory
from atst.model.matmul import fast_products
from atst.model.moments import STATISTICS

LEVELS = ("all", "stem-last")  # that a training fits whitening for
DIRECTIONS = 256  # at most; those beyond keep their scale
EXPONENT = 0.35  # 0 keeps all scales, 0.5 makes those of the directions equal; selected on the dev splits
AT_ONCE = 512  # columns that are multiplied in float64
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
        singular, directions = _largest(vectors, mean, std, count)
        fitted = cls(vectors.shape[1], count)
        fitted.mean.copy_(mean)
        fitted.std.copy_(std)
        fitted.directions.copy_(directions)
        largest = singular.clamp_min(1e-6)
        fitted.gains.copy_((largest / largest[-1]) ** (-2.0 * EXPONENT))  # of variances
        return fitted

    def forward(self, vectors: Tensor) -> Tensor:
        standard = (vectors - self.mean) / self.std
        # not `standard @ directions.T`, of which an exported file would keep a second, transposed matrix
        along = (self.directions @ standard.T).T  # (N, directions)
        return standard + (along * (self.gains - 1.0)) @ self.directions


@fast_products()  # in a training and after it: a resumed run ends in the same bits
def fit(parts: Iterable[Tensor], stem_sizes: list[int]) -> dict[str, Whitening]:
    """By `LEVELS`, from statistics `(N, 3 * F)` of all levels, of which those of the stem come first.

    They come in parts, `(n, 3 * F)` each. Nothing from fewer than `LEAST_CLIPS`.
    """
    vectors = _stacked(parts)
    if len(vectors) < LEAST_CLIPS:
        return {}
    release_memory()
    first, last = sum(stem_sizes[:-1]), sum(stem_sizes)
    stem_last = vectors.unflatten(1, (len(STATISTICS), -1))[:, :, first:last].flatten(1)
    return {"all": Whitening.fit(vectors), "stem-last": Whitening.fit(stem_last)}


def _stacked(parts: Iterable[Tensor]) -> Tensor:
    """All rows, which are never in memory twice if they are no more than `CLIPS`."""
    rows, count = torch.empty(0, 0), 0
    for part in parts:
        if count + len(part) > len(rows):
            room = part.new_empty(max(CLIPS, len(part)), part.shape[1])
            rows = torch.cat([rows[:count], room]) if count else room
        rows[count : count + len(part)] = part
        count += len(part)
    return rows[:count]


def _largest(vectors: Tensor, mean: Tensor, std: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The largest singular values `(count,)` of standardised vectors, and their right vectors `(count, F)`.

    By the eigenvectors of the smaller of the two products of the vectors with themselves, in float64, from
    some columns at a time: decomposing the vectors themselves takes longer, and several times the memory.
    """
    from scipy.linalg import eigh  # late: a model that is loaded does not need it

    def standard(columns: slice) -> Tensor:
        return (vectors[:, columns] - mean[columns]).div_(std[columns]).cpu()

    wide = len(vectors) < vectors.shape[1]
    product = torch.zeros(2 * (min(vectors.shape),), dtype=torch.float64)
    blocks = (
        [slice(at, at + AT_ONCE) for at in range(0, vectors.shape[1], AT_ONCE)] if wide else [slice(None)]
    )
    for columns in blocks:
        x = standard(columns).double()
        product.addmm_(*((x, x.T) if wide else (x.T, x)))
    last = len(product) - 1  # eigenvalues ascend
    squares, sides = eigh(product.numpy(), subset_by_index=(last - count + 1, last), overwrite_a=True)
    found = torch.from_numpy(sides.T[::-1].copy()).float()
    if wide:
        found = nn.functional.normalize(
            torch.cat([found @ standard(columns) for columns in blocks], 1), dim=1
        )
    return torch.from_numpy(squares[::-1].copy()).clamp_min(0.0).sqrt().to(mean), found.to(mean)


def unfitted(tensors: dict[str, Tensor]) -> dict[str, Whitening]:
    """By levels, modules that fit these tensors of a state."""
    found = {levels: tensors.get(f"{levels}.directions") for levels in LEVELS}
    return {
        levels: Whitening(directions.shape[1], len(directions))
        for levels, directions in found.items()
        if directions is not None and directions.ndim == 2
    }
