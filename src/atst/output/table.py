"""Writes rows to a file as they come, atomically and with bounded memory."""

import csv
import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from itertools import chain
from pathlib import Path
from typing import Any, TextIO

import pyarrow as pa
import pyarrow.parquet as pq

from atst.errors import AtstError, UsageError
from atst.output.atomic import new_file

GROUP_ROWS = 1024  # rows held in memory and written as one Parquet row group
GROUP_BYTES = 4 * 2**20  # or fewer rows, if they are as large
DECIMALS = 6  # of numbers in text formats

Writer = Callable[[Path, pa.Schema, str], AbstractContextManager[Callable[[pa.Table], None]]]


def check_out(out: Path, writers: Mapping[str, Writer]) -> None:
    """Raises `UsageError` if `out` is a folder or its ending is not one of `writers`."""
    if _ending(out, writers) is None:
        *most, last = writers
        raise UsageError(f"--out {out}: the name must end in {', '.join(most)}{' or ' * bool(most)}{last}.")
    if out.is_dir():
        raise UsageError(f"--out {out} is a folder, not a file.")


def write_table(
    out: Path,
    writers: Mapping[str, Writer],
    tables: Iterable[pa.Table],
    about: dict[str, Any],
    empty: Callable[[], AtstError] = lambda: AtstError("there is nothing to write."),
) -> None:
    """Write all rows by the writer for the ending of `out`, about GROUP_ROWS or GROUP_BYTES at a time.

    `about` goes to the file's metadata where the format has some. Raises what `empty` makes if there are no
    rows, `AtstError` if the file cannot be written; an existing file is replaced only when all is done.
    """
    with writing(out), new_file(out) as temporary:
        temporary.touch()  # fail now, not after hours, if the folder is not writable
        grouped = groups(tables)
        first = next(grouped, None)
        if first is None:
            raise empty()
        with writers[_ending(out, writers) or ""](temporary, first.schema, json.dumps(about)) as write:
            for group in chain([first], grouped):
                write(group)


@contextmanager
def writing(out: Path) -> Iterator[None]:
    """What the system says against writing becomes `AtstError`."""
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise AtstError(f"--out {out}: cannot be written: {reason}.") from error


def _ending(out: Path, writers: Mapping[str, Writer]) -> str | None:
    return next((ending for ending in writers if out.name.endswith(ending)), None)


def groups(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """The same rows in tables of GROUP_ROWS, or GROUP_BYTES, or some more."""
    parts: list[pa.Table] = []
    rows = size = 0
    for table in tables:
        parts.append(table)
        rows, size = rows + len(table), size + table.nbytes
        if rows >= GROUP_ROWS or size >= GROUP_BYTES:
            yield pa.concat_tables(parts)
            parts, rows, size = [], 0, 0
    if parts:
        yield pa.concat_tables(parts)


@contextmanager
def parquet(path: Path, schema: pa.Schema, about: str) -> Iterator[Callable[[pa.Table], None]]:
    """Writes row groups; `about` stands under the key `atst` of the file's metadata."""
    texts = [field.name for field in schema if pa.types.is_string(field.type)]
    with pq.ParquetWriter(
        path, schema.with_metadata({"atst": about}), compression="zstd", use_dictionary=texts
    ) as file:
        yield lambda table: file.write_table(table, row_group_size=len(table))


@contextmanager
def csv_file(path: Path, schema: pa.Schema, about: str) -> Iterator[Callable[[pa.Table], None]]:
    """Writes a header and a line a row; lists are joined by `;`, None and NaN are empty cells."""
    with path.open("w", newline="", encoding="utf-8") as stream:
        yield csv_lines(stream, schema.names)


def csv_lines(stream: TextIO, names: list[str]) -> Callable[[pa.Table], None]:
    """Writes the header to `stream`; returns what writes a table's rows."""
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(names)

    def write(table: pa.Table) -> None:
        for row in table.to_pylist():
            writer.writerow([_cell(value) for value in row.values()])

    return write


@contextmanager
def jsonl_file(path: Path, schema: pa.Schema, about: str) -> Iterator[Callable[[pa.Table], None]]:
    """Writes a JSON object a row."""
    with path.open("w", encoding="utf-8") as stream:

        def write(table: pa.Table) -> None:
            for row in table.to_pylist():
                rounded = {name: _rounded(value) for name, value in row.items()}
                stream.write(json.dumps(rounded, ensure_ascii=False) + "\n")

        yield write


def _cell(value: Any) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    value = _rounded(value)
    return ";".join(map(str, value)) if isinstance(value, list) else value


def _rounded(value: Any) -> Any:
    if isinstance(value, list):
        return [_rounded(entry) for entry in value]
    if isinstance(value, float):
        return None if math.isnan(value) else round(value, DECIMALS)
    return value
