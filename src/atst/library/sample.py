"""Some rows of a library, and their features on one scale."""

import numpy as np
from numpy.typing import NDArray

from atst.library.library import Library

Features = NDArray[np.float32]


def draw(library: Library, most: int, seed: int) -> NDArray[np.int64]:
    """All rows in order, or `most` of them that are drawn."""
    rows = np.arange(len(library))
    return rows if len(rows) <= most else np.sort(np.random.default_rng(seed).permutation(rows)[:most])


def standardised(library: Library, rows: NDArray[np.int64]) -> Features:
    """The features (n, D) of some rows in rising order, with mean 0 and deviation 1 over the library."""
    selected, at = np.empty((len(rows), library.width), np.float32), 0
    for part in library.features():
        first, last = np.searchsorted(rows, [at, at + len(part)])
        selected[first:last] = (part[rows[first:last] - at] - library.mean) / library.std
        at += len(part)
    return selected
