"""A library in Renumics Spotlight: a Parquet file with columns ready, and the program started on it."""

import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from atst.errors import AtstError, UsageError
from atst.library.columns import Columns
from atst.library.layout import Layout
from atst.library.library import Library
from atst.output.atomic import new_file
from atst.output.text import path_text

INSTALL = (
    "it brings many packages, so give it an environment of its own: python -m venv spotlight && "
    "spotlight/bin/pip install renumics-spotlight, then --spotlight spotlight/bin/spotlight. "
    "Or --html FILE for a page that needs nothing."
)
DTYPES = ("name=str", "path=audio", "embedding=Embedding", "map=Embedding", "stretch=Window")


def find_spotlight(given: str | Path | None) -> Path:
    """The program that `--spotlight` names, else the one on PATH. Raises `UsageError` where there is none."""
    found = shutil.which(str(given or "spotlight"))
    if found is None:
        what = "no program 'spotlight' on PATH" if given is None else f"--spotlight {given}: no such program"
        raise UsageError(f"{what}; {INSTALL}")
    return Path(found)


def write_parquet(path: Path, library: Library, layout: Layout, columns: Columns) -> None:
    """A row a point: the columns, the recording, its stretch, neighbours, place on the map and embedding."""
    places = [library.locate(int(row)) for row in layout.rows]
    names = [library.paths[int(row)] for row in layout.rows]
    audio = [None if place is None else path_text(place.absolute()) for place in places]
    stretch = [[float(library.starts[row]), float(library.ends[row])] for row in layout.rows]
    near = ["\n".join(names[other] for other in row) for row in layout.neighbours]
    table = {
        "name": pa.array(names, pa.string()),
        "path": pa.array(audio, pa.string()),
        **{_plain(name): pa.array(_one_kind(values)) for name, values in columns.items()},
        "nearest_neighbours": pa.array(near, pa.string()),
        "stretch": pa.array(stretch, pa.list_(pa.float64())),
        "map": pa.array(layout.points.tolist(), pa.list_(pa.float64())),
        "embedding": pa.array(list(layout.features), pa.list_(pa.float32())),
    }
    with new_file(path) as temporary:
        pq.write_table(pa.table(table), temporary)


def run(program: Path, file: Path) -> None:
    """Start the program on the file and wait for its end. Raises `AtstError` if it fails."""
    types = [word for dtype in DTYPES for word in ("--dtype", dtype)]
    try:
        done = subprocess.run([program, str(file), *types], check=False)
    except OSError as error:
        raise UsageError(f"--spotlight {program}: cannot be started: {error.strerror}.") from None
    if done.returncode:
        raise AtstError(f"{program}: ended with exit code {done.returncode}; see the lines above.")


def _plain(name: str) -> str:
    """A column's name without blanks and brackets."""
    return re.sub(r"\W+", "_", name).strip("_")


def _one_kind(values: Sequence[object]) -> list[object]:
    """Numbers as they are; otherwise all as text."""
    if all(isinstance(value, int | float | None) for value in values):
        return list(values)
    return [None if value is None else str(value) for value in values]
