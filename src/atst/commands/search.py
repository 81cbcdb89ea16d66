"""`atst search`: the recordings of a library that are most like a query."""

import math
import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

import pyarrow as pa
from cyclopts import Parameter

from atst.commands._options import Flag, Quiet
from atst.errors import UsageError
from atst.library.index import Index
from atst.library.library import Library
from atst.library.places import say_missing
from atst.library.query import Query, QueryModel, Stretch, find_query
from atst.library.search import Hit, missing_of
from atst.library.search import search as search_one
from atst.output import progress
from atst.output.progress import say
from atst.output.table import check_out, csv_file, jsonl_file, write_table
from atst.output.text import path_text, print_table, writable

WRITERS: Any = {".csv": csv_file, ".jsonl": jsonl_file, ".html": None}
MOST_EXACT = 1_000_000  # rows that are searched without an index
FEW = 10  # rows whose mean and deviation say little


def search(
    library: Path | str,
    queries: Sequence[str],
    /,
    *,
    k: Annotated[int, Parameter(name="-k")] = 20,
    time: str | None = None,
    per_file: int | None = None,
    out: Path | str | None = None,
    root: Path | str | None = None,
    model: str | Path | None = None,
    index: Flag = False,
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto",
    quiet: Quiet = False,
) -> list[Hit]:
    """Find the recordings of a library that sound most like a query.

    For example:

        atst search sounds.parquet sounds/dog.wav -k 10 --out hits.html

    The library is what `atst embed` wrote. A query is a path of the library, which needs no model, or another
    audio file, which the library's model then embeds. Hits are the rows with the highest cosine
    similarity of features standardised over the library, each a stretch of a recording; the query itself is
    left out. The search is exact up to a million rows.

    Args:
        library: A .parquet or .npz file of `atst embed`, or a folder of them.
        queries: Audio files or paths of the library; each has its own hits.
        k: Hits for each query.
        time: Search for this stretch of the queries, in seconds: `3.2-5.0`.
        per_file: At most this many hits of one recording.
        out: The file to write: FILE.csv, FILE.jsonl, or FILE.html, a page with spectrograms and players.
            Default: a table on the screen.
        root: The folder that the library's recordings are in now, if they moved.
        model: The library's model, if it is not where the library says.
        index: Use an index, kept in the user's cache folder, below a million rows too; its recall is measured
            and printed. Needs `pip install "atst-audio[search]"`.
        device: Where a query is embedded.
        quiet: Show no progress.

    Returns:
        The hits, query by query.

    Raises:
        UsageError: an argument or the library is invalid, or a query is neither a file nor a row.
        ModelError: the model is not there, or is not the library's.
        AudioError: a query cannot be read.
    """
    if out is not None:
        check_out(Path(out), WRITERS)
    stretch = None if time is None else stretch_of(time)
    with progress.quiet(quiet):
        opened = Library(library, root)
        embedder = QueryModel(opened, model, device)
        found = [find_query(opened, text, stretch, embedder) for text in queries]
        graph = _index(opened, index)
        hits = [search_one(opened, query, k, per_file, graph) for query in found]
        _remark(opened, found, hits, k)
    rows = [hit for some in hits for hit in some]
    if out is None:
        _print(rows, len(found) > 1)
    elif str(out).endswith(".html"):
        _write_page(Path(out), opened, found, hits)
    else:
        cells = [asdict(hit) | {"query": path_text(Path(hit.query))} for hit in rows]
        write_table(Path(out), WRITERS, [pa.Table.from_pylist(cells, SCHEMA)], {})
    return rows


def stretch_of(text: str) -> Stretch:
    """`3.2-5.0` as seconds. Raises `UsageError`."""
    match = re.fullmatch(r"\s*(\d+\.?\d*|\.\d+)\s*-\s*(\d+\.?\d*|\.\d+)\s*", text)
    if match is None or float(match[1]) >= float(match[2]):
        raise UsageError(f"--time {text}: give a start and a later end in seconds, such as 3.2-5.0.")
    return float(match[1]), float(match[2])


def _index(library: Library, wanted: bool) -> Index | None:
    if not wanted and len(library) <= MOST_EXACT:
        return None
    try:
        index = Index(library)
    except UsageError:
        if wanted:
            raise
        say(f'{len(library):,} rows are searched faster by an index: pip install "atst-audio[search]".')
        return None
    say(str(index))
    return index


def _remark(library: Library, queries: Sequence[Query], hits: Sequence[Sequence[Hit]], k: int) -> None:
    """Say what limits the answer: few rows, and recordings that are not there."""
    if len(library) < FEW:
        say(f"the features are standardised over {len(library)} rows only: similarities say little.")
    for query, some in zip(queries, hits, strict=True):
        if len(some) < k:
            say(f"{writable(query.text)}: {len(some):,} hits, fewer than -k {k:,}: the library has no more.")
    say_missing(missing_of(library, [hit.row for some in hits for hit in some]))


SCHEMA = pa.schema(
    {
        "query": pa.string(),
        "rank": pa.int64(),
        "path": pa.string(),
        "start": pa.float64(),
        "end": pa.float64(),
        "similarity": pa.float64(),
    }
)


def _print(hits: Sequence[Hit], several: bool) -> None:
    header = ["rank", "similarity", "start", "end", "path"]
    rows = [
        [str(hit.rank), f"{hit.similarity:.3f}", _second(hit.start), _second(hit.end), hit.path]
        for hit in hits
    ]
    if several:
        header, rows = ["query", *header], [[hit.query, *row] for hit, row in zip(hits, rows, strict=True)]
    print_table(header, rows)


def _second(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.2f}"


def _write_page(out: Path, library: Library, queries: Sequence[Query], hits: Sequence[Sequence[Hit]]) -> None:
    from atst.library.page import Sound, write_page  # matplotlib: for the page alone

    groups = []
    for query, some in zip(queries, hits, strict=True):
        sounds = [Sound(query.text, query.place, query.start, query.end, "query")]
        for hit in some:
            note = f"{hit.rank}. similarity {hit.similarity:.3f}"
            sounds.append(Sound(hit.path, library.locate(hit.row), hit.start, hit.end, note))
        groups.append((query.text, sounds))
    write_page(out, f"Most similar in {path_text(library.path)}", groups)
