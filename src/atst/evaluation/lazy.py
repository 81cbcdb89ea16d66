"""Feature vectors that may stay in their files and are read by rows.

Features that fit into memory are a tensor, others `LazyFeatures`. Either way `features[rows]` with rows
(m,) is a tensor (m, D); the functions here are for passes over all of them.
"""

import functools
import mmap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

CHUNK = 2**27  # bytes read at a time in a pass over all features
EQUAL = 1e-5  # of the largest value; what an embedding may differ by for what else is in its batch
CPU = torch.device("cpu")
COPIES = 4  # of a GPU's features, that its free memory must hold


@dataclass(frozen=True)
class File:
    """Vectors of one writer, and how many of them can be used."""

    path: Path
    count: int


class LazyFeatures:
    """Feature vectors (n, D) that stay in their files; `[rows]` reads some of them onto the device.

    `places` (n,) counts through the vectors of all files, one file after the other.
    """

    def __init__(self, files: list[File], places: NDArray[np.int64], device: torch.device = CPU) -> None:
        self.files, self.places, self.device = files, places, device
        self.starts = np.cumsum([0] + [file.count for file in files])  # place of the first of each file
        self.shape = (len(places), width(files[0].path))
        self.nbytes = 4 * self.shape[0] * self.shape[1]

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, rows: Any) -> Tensor:
        """The vectors (m, D) of `rows`, whatever selects m of n: indices, a mask (n,) or a slice."""
        places = self.places[rows.cpu().numpy() if isinstance(rows, Tensor) else rows]
        file_of = np.searchsorted(self.starts, places, side="right") - 1
        order = np.argsort(file_of, kind="stable")
        by_file = np.split(order, np.flatnonzero(np.diff(file_of[order])) + 1)
        out = np.empty((len(places), self.shape[1]), dtype=np.float32)
        for positions in by_file if len(places) else []:
            file = file_of[positions[0]]
            vectors, held = _opened(self.files[file]), places[positions] - self.starts[file]
            _read_ahead(vectors, held)
            if len(by_file) == 1:
                vectors.take(held, 0, out, mode="clip")  # with any other mode it is copied twice
            else:
                out[positions] = vectors[held]
        return torch.from_numpy(out).to(self.device)


Embeddings = Tensor | LazyFeatures  # (n, D)


def on_device(features: Embeddings, device: torch.device) -> Embeddings:
    """Features (n, D) for use on the device: read into its memory unless they are too large."""
    if isinstance(features, Tensor):
        return features.to(device)
    features = LazyFeatures(features.files, features.places, device)
    if device.type == "cuda" and COPIES * features.nbytes < torch.cuda.mem_get_info(device)[0]:
        return torch.cat(list(chunks(features)))
    return features


def select(features: Embeddings, rows: Tensor) -> Embeddings:
    """The features of `rows` (m,), not read yet if they are on disk."""
    if isinstance(features, Tensor):
        return features.index_select(0, rows.to(features.device))  # faster than in brackets
    return LazyFeatures(features.files, features.places[rows.cpu().numpy()], features.device)


def chunks(features: Embeddings) -> Iterator[Tensor]:
    """All features in order, as (m, D) at a time: in one chunk if they are in memory."""
    if isinstance(features, Tensor):
        yield features
        return
    for rows in torch.arange(len(features)).split(max(1, CHUNK // (4 * features.shape[1]))):
        yield features[rows]


def apply(function: Callable[[Tensor], Tensor], features: Embeddings) -> Tensor:
    """What `function` makes of every clip, (n, ...)."""
    found = [function(chunk) for chunk in chunks(features)]
    return found[0] if len(found) == 1 else torch.cat(found)


def all_equal(features: Embeddings) -> bool:
    """Whether every clip has the same features, but for rounding."""
    first = features[torch.zeros(1, dtype=torch.int64)]
    limit = EQUAL * first.abs().max()
    return not any(bool((chunk - first).abs().max() > limit) for chunk in chunks(features))


def _read_ahead(vectors: np.memmap, rows: NDArray[np.int64]) -> None:
    """Have the disk read all these rows at once: one by one, as they are touched, is slower."""
    if not hasattr(mmap, "MADV_WILLNEED"):
        return  # Windows has nothing like it
    whole: Any = vectors.base  # the mapped file
    size = vectors.strides[0]
    for start in (vectors.offset + rows * size).tolist():
        before = start % mmap.PAGESIZE
        whole.madvise(mmap.MADV_WILLNEED, start - before, before + size)


def width(path: Path) -> int:
    """Of the vectors in a file, by its name."""
    return int(path.stem.rpartition(".")[2])


@functools.lru_cache(maxsize=16)  # each keeps a file open, and a system allows some hundred
def _opened(file: File) -> np.memmap:
    """The vectors (n, D) of a file, read when looked at."""
    return np.memmap(file.path, "<f4", "r", shape=(file.count, width(file.path)))
