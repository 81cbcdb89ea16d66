"""Features on a device: a tensor, or gathered batch by batch from what is too large for memory.

Either way `features[rows]` (m,) is a tensor (m, D). The functions here are for passes over all of them.
"""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from atst.evaluation.store import Vectors

PART = 2**27  # bytes read at a time in a pass over all features
EQUAL = 1e-5  # of the largest value; what an embedding may differ by for what else is in its batch
COPIES = 4  # of a GPU's features, that its free memory must hold


class Gathered:
    """Features (n, D) on disk, of which `[rows]` is read onto the device."""

    def __init__(self, vectors: Vectors, device: torch.device) -> None:
        self.vectors, self.device, self.shape = vectors, device, vectors.shape

    def __len__(self) -> int:
        return len(self.vectors)

    def __getitem__(self, rows: Tensor) -> Tensor:
        """(m,) -> (m, D)."""
        return torch.from_numpy(self.vectors[rows.cpu().numpy()]).to(self.device)


Embeddings = Tensor | Gathered  # (n, D)


def on_device(values: NDArray[np.float32] | Vectors, device: torch.device) -> Embeddings:
    """Features (n, D) for use on the device: read into its memory unless they are too large."""
    if isinstance(values, np.ndarray):
        return torch.from_numpy(values).to(device)
    features = Gathered(values, device)
    if device.type == "cuda" and COPIES * values.nbytes < torch.cuda.mem_get_info(device)[0]:
        return torch.cat(list(parts(features)))
    return features


def picked(features: Embeddings, rows: Tensor) -> Embeddings:
    """The features of `rows` (m,), not read yet if they are on disk."""
    if isinstance(features, Tensor):
        return features[rows]
    return Gathered(features.vectors.take(rows.cpu().numpy()), features.device)


def parts(features: Embeddings) -> Iterator[Tensor]:
    """All features in order, as (m, D) at a time: in one part if they are in memory."""
    if isinstance(features, Tensor):
        yield features
        return
    for rows in torch.arange(len(features)).split(max(1, PART // (4 * features.shape[1]))):
        yield features[rows]


def applied(function: Callable[[Tensor], Tensor], features: Embeddings) -> Tensor:
    """What `function` makes of every clip, (n, ...)."""
    if isinstance(features, Tensor):
        return function(features)
    return torch.cat([function(part) for part in parts(features)])


def product(features: Embeddings, weight: Tensor) -> Tensor:
    """(n, D) @ (D, K) -> (n, K)."""
    return applied(lambda part: part @ weight, features)


def centre(features: Embeddings) -> Tensor:
    """The mean over clips, (D,)."""
    if isinstance(features, Tensor):
        return features.mean(0)
    return torch.stack([part.sum(0) for part in parts(features)]).sum(0) / len(features)


def all_equal(features: Embeddings) -> bool:
    """Whether every clip has the same features, but for rounding."""
    first: Tensor | None = None
    for part in parts(features):
        first = part[0] if first is None else first
        if (part - first).abs().max() > EQUAL * first.abs().max():
            return False
    return True
