"""A library: the rows of one embedding file, or of a folder of them."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from atst.errors import UsageError
from atst.library.embedding_file import EmbeddingFile
from atst.library.index import Index
from atst.library.places import Places
from atst.library.query import QueryModel, find_query
from atst.library.search import Hit, search
from atst.library.statistics import Statistics, statistics

Features = NDArray[np.float32]
ENDINGS = (".parquet", ".npz")
SAME = ("fingerprint", "layers", "pooling", "levels", "frames")  # of all files of a folder


@dataclass(frozen=True)
class Group:
    """A row group: what is read of a file at once."""

    first: int  # its first row's number in the library
    file: int  # in `Library.files`
    number: int  # in the file
    rows: int


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
        for group in self.groups:
            yield self.files[group.file].features(group.number)

    def matrix(self) -> Features:
        """All embeddings (N, D) in memory."""
        matrix = np.empty((len(self), self.width), np.float32)
        at = 0
        for part in self.features():
            matrix[at : at + len(part)] = part
            at += len(part)
        return matrix

    def vectors(self, rows: Sequence[int] | NDArray[np.int64]) -> Features:
        """The embeddings (R, D) of these rows, in this order; reads their row groups alone."""
        wanted = np.asarray(rows, np.int64).reshape(-1)
        if len(wanted) and not 0 <= wanted.min() <= wanted.max() < len(self):
            raise IndexError(f"rows {wanted.min()} to {wanted.max()} of a library of {len(self)}")
        found = np.empty((len(wanted), self.width), np.float32)
        owners = np.searchsorted([group.first for group in self.groups], wanted, "right") - 1
        for owner in np.unique(owners):
            group, here = self.groups[owner], owners == owner
            found[here] = self.files[group.file].features(group.number)[wanted[here] - group.first]
        return found

    @cached_property
    def groups(self) -> list[Group]:
        """The row groups of all files, without empty ones."""
        sizes = [
            (file, number, rows)
            for file in range(len(self.files))
            for number, rows in enumerate(self.files[file].group_rows())
            if rows
        ]
        firsts = accumulate((rows for *_, rows in sizes), initial=0)
        return [Group(first, *size) for first, size in zip(firsts, sizes, strict=False)]

    @property
    def mark(self) -> str:
        """A hash of the files' sizes, times and ends: what is derived of them is kept under it."""
        return hashlib.sha256(b"\0".join(file.mark() for file in self.files)).hexdigest()

    @cached_property
    def statistics(self) -> Statistics:
        """Mean and deviation of each feature over all rows, by one pass; kept beside the library."""
        return statistics(self.path, self.files, self.mark)

    @property
    def mean(self) -> Features:
        """The mean (D,) of each feature."""
        return self.statistics.mean

    @property
    def std(self) -> Features:
        """The standard deviation (D,) of each feature; 1 for one that is the same in all rows."""
        return self.statistics.std

    def search(
        self,
        query: str | Path,
        k: int = 20,
        *,
        time: tuple[float, float] | None = None,
        per_file: int | None = None,
        model: str | Path | None = None,
        index: bool = False,
    ) -> list[Hit]:
        """The `k` rows most like a recording, or like its stretch `time` (seconds), best first.

        See `atst search`, whose options these are.
        """
        found = find_query(self, str(query), time, QueryModel(self, model))
        return search(self, found, k, per_file, Index(self) if index else None)

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

    def _column(self, name: str) -> pa.ChunkedArray:
        return pa.chunked_array([chunk for file in self.files for chunk in file.column(name).chunks])

    def _seconds(self, name: str) -> NDArray[np.float64]:
        if not all(name in file.names for file in self.files):
            return np.full(len(self), np.nan)
        return np.concatenate([_numbers(chunk) for chunk in self._column(name).chunks])


def _numbers(column: pa.Array) -> NDArray[np.float64]:
    """As float64, NaN where there is none; `to_numpy` would import pandas, which takes a second."""
    return np.array(column.to_pylist(), float) if column.null_count else np.from_dlpack(column).astype(float)


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
