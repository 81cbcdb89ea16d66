"""A library: the rows of one embedding file, or of a folder of them."""

from collections.abc import Iterator
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from atst.errors import UsageError
from atst.library.embedding_file import EmbeddingFile
from atst.library.places import Places
from atst.library.statistics import Statistics, statistics

Features = NDArray[np.float32]
ENDINGS = (".parquet", ".npz")
SAME = ("fingerprint", "layers", "pooling", "frames")  # what the files of a folder must have in common


class Library:
    """Recordings, or stretches of them, with their embeddings: one row each, in the order of the files.

    `path` is what `atst embed` wrote, a .parquet or .npz file or a folder of them. The recordings are looked
    for where the rows say, or below `root` (see `locate`). Raises `UsageError` for files that are no
    embeddings, do not belong together, or hold no rows.
    """

    def __init__(self, path: str | Path, root: str | Path | None = None) -> None:
        self.path = Path(path)
        self.files = [EmbeddingFile(file) for file in _files(self.path)]
        _check_alike(self.files)
        if len(self) == 0:
            raise UsageError(f"{self.path}: an empty library, without a single row.")
        self._places = Places(root, self.path if self.path.is_dir() else self.path.parent)

    def __len__(self) -> int:
        return sum(file.rows for file in self.files)

    @property
    def metadata(self) -> dict[str, Any]:
        """What `atst embed` noted: `model`, `fingerprint`, `frames`, `layers`, `pooling` and others."""
        return self.files[0].metadata

    @property
    def width(self) -> int:
        """The number of features of a row."""
        return self.files[0].width

    @cached_property
    def paths(self) -> list[str]:
        """The path of each row's recording as stored."""
        return self.column("path")

    @cached_property
    def starts(self) -> NDArray[np.float64]:
        """Where each row's stretch starts, in seconds; NaN where the file does not tell."""
        return self._seconds("start")

    @cached_property
    def ends(self) -> NDArray[np.float64]:
        """Where each row's stretch ends, in seconds; NaN where the file does not tell."""
        return self._seconds("end")

    @property
    def columns(self) -> list[str]:
        """The columns that all files have besides `path`, `start`, `end` and `embedding`."""
        return [name for name in self.files[0].columns if all(name in file.columns for file in self.files)]

    def column(self, name: str) -> list[Any]:
        """The values of a column other than `embedding`, None where there is none."""
        return self._column(name).to_pylist()

    def features(self) -> Iterator[Features]:
        """All embeddings in order as (R, D) arrays, a row group of the file each: memory stays bounded."""
        for file in self.files:
            for group in range(file.groups):
                yield file.features(group)

    def matrix(self) -> Features:
        """All embeddings (N, D) in memory."""
        matrix = np.empty((len(self), self.width), np.float32)
        at = 0
        for part in self.features():
            matrix[at : at + len(part)] = part
            at += len(part)
        return matrix

    def vector(self, row: int) -> Features:
        """The embedding (D,) of one row; reads its row group alone."""
        for file, before in zip(self.files, self._before, strict=False):
            if before <= row < before + file.rows:
                return file.vector(row - before)
        raise IndexError(f"row {row} of {len(self)}")

    @cached_property
    def statistics(self) -> Statistics:
        """Mean and deviation of each feature over all rows, by one pass; kept beside the library."""
        return statistics(self.path, self.files)

    @property
    def mean(self) -> Features:
        """The mean (D,) of each feature."""
        return self.statistics.mean

    @property
    def std(self) -> Features:
        """The standard deviation (D,) of each feature; 1 for one that is the same in all rows."""
        return self.statistics.std

    def locate(self, row: int) -> Path | None:
        """Where the recording of a row is on this disk; None if it is nowhere, which `missing` then lists.

        Without `root` that is its path, from the working folder or else from the library's. With `root` it
        is below that: the longest end of its path that exists there.
        """
        return self._places.find(self.paths[row])

    @property
    def missing(self) -> list[str]:
        """The paths that `locate` was asked for and did not find, in order."""
        return self._places.missing

    @cached_property
    def _before(self) -> list[int]:
        """The number of the first row of each file."""
        return [0, *accumulate(file.rows for file in self.files)]

    def _column(self, name: str) -> pa.ChunkedArray:
        return pa.chunked_array([chunk for file in self.files for chunk in file.column(name).chunks])

    def _seconds(self, name: str) -> NDArray[np.float64]:
        if not all(name in file.names for file in self.files):
            return np.full(len(self), np.nan)
        return self._column(name).cast(pa.float64()).fill_null(np.nan).to_numpy()


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        found = sorted(file for file in path.iterdir() if file.suffix in ENDINGS and file.name[0] != ".")
        if not found:
            raise UsageError(
                f"{path}: no {' or '.join(ENDINGS)} file in this folder; `atst embed` writes them."
            )
        return found
    if not path.exists():
        raise UsageError(f"{path}: no such file or folder.")
    if path.suffix not in ENDINGS:
        raise UsageError(
            f"{path}: a library is a {' or '.join(ENDINGS)} file of `atst embed`, or a folder of them."
        )
    return [path]


def _check_alike(files: list[EmbeddingFile]) -> None:
    first = files[0]
    for file in files[1:]:
        for key in SAME:
            one, other = first.metadata.get(key), file.metadata.get(key)
            if one != other:
                raise UsageError(
                    f"{file.path}: {key} is {other}, but {one} in {first.path}: not one library."
                )
        if file.width != first.width:
            raise UsageError(
                f"{file.path}: rows of {file.width} features, but {first.width} in {first.path}."
            )
