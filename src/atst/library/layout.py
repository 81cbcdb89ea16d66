"""A library as a map: where its rows lie, what is near each, what belongs together and what stands apart."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import HDBSCAN
from sklearn.decomposition import PCA

from atst.errors import UsageError
from atst.library.library import Library
from atst.library.sample import Features, draw, standardised
from atst.library.similarity import best

MOST = 20_000  # rows of a map; of more, so many are drawn
NEIGHBOURS = 10
AXES = 10  # principal components that are clustered
SMALLEST, SHARE = 5, 0.005  # of a cluster: rows, and share of the rows
BLOCK = 1024  # rows compared with all others at a time


@dataclass(frozen=True)
class Layout:
    """n rows of a library: numbers in these arrays are places in `rows`."""

    rows: NDArray[np.int64]  # (n,), in rising order
    features: Features  # (n, D), standardised over the library
    points: NDArray[np.float64]  # (n, 2), each axis from 0 to 1
    method: str  # that made the points
    neighbours: NDArray[np.int64]  # (n, K), by cosine similarity, the nearest first
    outliers: NDArray[np.float64]  # (n,) mean cosine distance to the neighbours
    clusters: NDArray[np.int64]  # (n,), -1 for none


def lay_out(library: Library, method: str = "auto", seed: int = 0, most: int = MOST) -> Layout:
    """The map of a library, or of `most` of its rows.

    `method`: `pca`, `umap` (package umap-learn), or `auto`, which is UMAP where it is installed. Raises
    `UsageError` where it is not, or for fewer than three rows.
    """
    if len(library) < 3:
        raise UsageError(f"{library.path}: {len(library)} rows; a map takes three or more.")
    rows = draw(library, most, seed)
    features = standardised(library, rows)
    axes = PCA(min(AXES, *features.shape), random_state=seed).fit_transform(features)
    points, method = _points(features, axes, method, seed)
    low, high = points.min(0), points.max(0)
    neighbours, distances = _nearest(features, min(NEIGHBOURS, len(rows) - 1))
    size = max(SMALLEST, round(SHARE * len(rows)))
    clusters = np.full(len(rows), -1)
    if len(rows) > 2 * size:
        clusters = HDBSCAN(min_cluster_size=size, copy=True).fit_predict(axes)
    points = (points - low) / np.where(high > low, high - low, 1)
    return Layout(rows, features, points, method, neighbours, distances.mean(1), clusters)


def _points(
    features: Features, axes: NDArray[np.float64], method: str, seed: int
) -> tuple[NDArray[np.float64], str]:
    """(n, 2) and the name of the method."""
    if method != "pca":
        try:
            from umap import UMAP
        except ImportError:
            if method == "umap":
                raise UsageError('--map umap needs another package: pip install "atst-audio[map]".') from None
        else:
            near = min(15, len(features) - 1)
            return UMAP(n_neighbors=near, random_state=seed, n_jobs=1).fit_transform(features), "UMAP"
    two = np.zeros((len(axes), 2))
    two[:, : min(2, axes.shape[1])] = axes[:, :2]
    return two, "PCA"


def _nearest(features: Features, count: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The nearest others of each row, and their cosine distances: (n, K) both."""
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    unit = features / np.where(lengths > 0, lengths, 1)
    found, distances = [], []
    for first in range(0, len(unit), BLOCK):
        similar = unit[first : first + BLOCK] @ unit.T
        own = np.arange(len(similar))
        similar[own, first + own] = -np.inf
        found.append(best(similar, count))
        distances.append(1 - np.take_along_axis(similar, found[-1], 1))
    return np.concatenate(found), np.concatenate(distances).astype(np.float64)
