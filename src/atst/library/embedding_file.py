"""One file of embeddings: its columns, its metadata, and its vectors by row group."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from atst.errors import UsageError
from atst.output.version import KEY, check_version

FORMAT_VERSION = 1
OURS = ("path", "start", "end", "embedding")
NPZ_ROWS = 1024  # of a group of an .npz file, which has none of its own


class EmbeddingFile:
    """A .parquet or .npz file that `atst embed` wrote; an .npz file is held in memory.

    Raises `UsageError` for any other file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._source: _Npz | _Parquet = (_Npz if path.suffix == ".npz" else _Parquet)(path)
        except Exception as error:  # a damaged file can raise anything
            raise UsageError(f"{path}: cannot be read as embeddings: {_one_line(error)}.") from None
        schema = self._source.schema
        self.rows, self.groups, self.names = self._source.rows, self._source.groups, schema.names
        self.metadata = self._metadata()
        if missing := [name for name in ("path", "embedding") if name not in self.names]:
            raise UsageError(f"{path}: no column {' and '.join(missing)}: not what `atst embed` wrote.")
        kind = schema.field("embedding").type
        self._size: int | None = kind.list_size if pa.types.is_fixed_size_list(kind) else None
        numbers = pa.types.is_list(kind) or pa.types.is_large_list(kind) or self._size
        if not numbers or not (pa.types.is_floating(kind.value_type) or pa.types.is_integer(kind.value_type)):
            self._fail(f"the column embedding holds {kind}, not lists of numbers")

    @property
    def columns(self) -> list[str]:
        """The names of the columns besides those of every file of embeddings."""
        return [name for name in self.names if name not in OURS]

    @property
    def width(self) -> int:
        """The number of features of a row; 0 without rows."""
        if self._size is None:
            self._size = self.features(0).shape[1] if self.rows else 0
        return self._size

    def column(self, name: str) -> pa.ChunkedArray:
        """A column as it is."""
        return self._read(name)

    def features(self, group: int) -> NDArray[np.float32]:
        """The embeddings (R, D) of a row group.

        Raises `UsageError` where a row has none, one of another size, or a number that is not finite.
        """
        column = self._read("embedding", group).combine_chunks()
        if column.null_count:
            self._fail("a row without its embedding")
        size = self._size
        if pa.types.is_fixed_size_list(column.type):
            values = column.values[column.offset * size : (column.offset + len(column)) * size]
        else:
            values = column.flatten()
            lengths = np.from_dlpack(column.value_lengths())
            size = size or int(lengths[0])
            if np.any(lengths != size):
                self._fail(f"rows of different sizes: {size} features, and {lengths[lengths != size][0]}")
        if values.null_count:
            self._fail("an embedding with an empty cell")
        values = values if values.type == pa.float32() else values.cast(pa.float32())
        vectors: Any = np.from_dlpack(values)  # to_numpy() would import pandas, which takes a second
        if not np.isfinite(vectors.sum()) and not np.isfinite(vectors).all():  # the sum is cheaper
            self._fail("an embedding with a number that is not finite")
        return vectors.reshape(len(column), -1)

    def group_rows(self) -> list[int]:
        """The number of rows of each row group."""
        return [self._source.rows_of(group) for group in range(self.groups)]

    def again(self) -> "EmbeddingFile":
        """The same for another thread."""
        return self if isinstance(self._source, _Npz) else EmbeddingFile(self.path)

    def mark(self) -> bytes:
        """Differs between files that differ, as far as size, time of change and the file's end tell."""
        status = self.path.stat()
        with self.path.open("rb") as file:
            file.seek(max(0, status.st_size - 65536))
            return f"{status.st_size} {status.st_mtime_ns} ".encode() + file.read()

    def _read(self, name: str, group: int | None = None) -> pa.ChunkedArray:
        try:
            return self._source.read(name, group)
        except Exception as error:
            raise UsageError(f"{self.path}: cannot be read to its end: {_one_line(error)}.") from None

    def _metadata(self) -> dict[str, Any]:
        try:
            about = json.loads(self._source.about or "")
        except (TypeError, ValueError, RecursionError):
            about = None
        if not isinstance(about, dict) or "model" not in about:
            raise UsageError(
                f"{self.path}: no metadata of `atst embed` in it (model, layers, pooling): "
                "embed the recordings with it."
            )
        check_version(about.get(KEY), FORMAT_VERSION, self.path, UsageError)
        return about

    def _fail(self, what: str) -> None:
        raise UsageError(f"{self.path}: {what}.")


class _Parquet:
    def __init__(self, path: Path) -> None:
        self.file = pq.ParquetFile(path)
        self.schema, self.about = self.file.schema_arrow, (self.file.schema_arrow.metadata or {}).get(b"atst")
        self.rows, self.groups = self.file.metadata.num_rows, self.file.num_row_groups

    def rows_of(self, group: int) -> int:
        return self.file.metadata.row_group(group).num_rows

    def read(self, name: str, group: int | None = None) -> pa.ChunkedArray:
        if group is None:
            return self.file.read(columns=[name]).column(name)
        return self.file.read_row_group(group, columns=[name]).column(name)


class _Npz:
    def __init__(self, path: Path) -> None:
        with np.load(path, allow_pickle=False) as arrays:
            columns = {name: arrays[name] for name in arrays.files if name != "metadata"}
            self.about = str(arrays["metadata"]) if "metadata" in arrays.files else None
        vectors = np.ascontiguousarray(columns["embedding"], np.float32)
        flat = pa.array(vectors.reshape(-1))
        embedding = pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])
        self.table = pa.table({**columns, "embedding": embedding})
        self.schema, self.rows, self.groups = self.table.schema, len(vectors), -(-len(vectors) // NPZ_ROWS)

    def rows_of(self, group: int) -> int:
        return min(NPZ_ROWS, self.rows - group * NPZ_ROWS)

    def read(self, name: str, group: int | None = None) -> pa.ChunkedArray:
        column = self.table.column(name)
        return column if group is None else column.slice(group * NPZ_ROWS, NPZ_ROWS)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")
