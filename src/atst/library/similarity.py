"""Cosine similarity of standardised features: exact, row group by row group, on all cores."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from atst.cores import cores

if TYPE_CHECKING:
    from atst.library.library import Features, Group, Library

FEW = 64  # row groups that are not worth a second thread
SHORTEST = 1e-12  # length of a direction
VALUES = 1 << 25  # similarities held in memory at a time


def directions(library: "Library", vectors: "Features") -> "Features":
    """Vectors (R, D) standardised over the library and scaled to length 1; one of length 0 stays so."""
    standard = (vectors - library.mean) / library.std
    return standard / np.maximum(np.linalg.norm(standard, axis=1, keepdims=True), SHORTEST)


def similarities(library: "Library", queries: "Features") -> NDArray[np.float32]:
    """The cosine (Q, N) of each of the `directions` in `queries` with each row of the library."""
    found = np.empty((len(queries), len(library)), np.float32)
    threads = 1 if len(library.groups) <= FEW else cores()
    mean, scale = library.mean, 1 / library.std

    def fill(share: "Sequence[Group]") -> None:
        files = [file.again() for file in library.files]  # a reader of a file serves one thread
        space = np.empty((max(group.rows for group in share), library.width), np.float32)
        for group in share:
            standard = space[: group.rows]
            np.subtract(files[group.file].features(group.number), mean, out=standard)
            standard *= scale
            length = np.sqrt(np.einsum("rd,rd->r", standard, standard))
            cosine = queries @ standard.T / np.maximum(length, SHORTEST)
            found[:, group.first : group.first + group.rows] = cosine

    # BLAS would wait for its own threads, which have no core left beside these
    with threadpool_limits(1), ThreadPoolExecutor(threads) as pool:
        list(pool.map(fill, [library.groups[at::threads] for at in range(threads)]))
    return found


def nearest(library: "Library", queries: "Features", k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Numbers and similarities (Q, k) of the rows most similar to each of the `directions`, best first."""
    rows, values = [], []
    step = max(1, VALUES // len(library))
    for at in range(0, len(queries), step):
        found = similarities(library, queries[at : at + step])
        order = best(found, k)
        rows.append(order)
        values.append(np.take_along_axis(found, order, 1))
    return np.concatenate(rows), np.concatenate(values)


def best(values: NDArray[np.floating[Any]], k: int) -> NDArray[np.int64]:
    """The places (Q, k) of the highest values of each row (Q, N), highest first."""
    k = min(k, values.shape[1])
    top = np.sort(np.argpartition(-values, k - 1, axis=1)[:, :k], axis=1)
    return np.take_along_axis(top, np.argsort(-np.take_along_axis(values, top, 1), axis=1, kind="stable"), 1)
