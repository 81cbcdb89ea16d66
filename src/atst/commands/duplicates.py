"""`atst duplicates`: recordings of a library that are the same sound."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa

from atst.commands._options import Quiet
from atst.errors import AudioError
from atst.library.duplicates import Pair
from atst.library.duplicates import duplicates as find
from atst.library.library import Library
from atst.library.page import Sound, write_page
from atst.output import progress
from atst.output.progress import say
from atst.output.skipped import summary, write_errors
from atst.output.table import check_out, csv_file, jsonl_file, write_table
from atst.output.text import print_table

WRITERS: Any = {".csv": csv_file, ".jsonl": jsonl_file, ".html": None}
ON_PAGE = 200  # pairs; more would make a page too large to open
SCHEMA = pa.schema(
    {
        "path": pa.string(),
        "start": pa.float64(),
        "end": pa.float64(),
        "other_path": pa.string(),
        "other_start": pa.float64(),
        "other_end": pa.float64(),
        "offset": pa.float64(),
        "correlation": pa.float64(),
    }
)


def duplicates(
    library: Path | str,
    /,
    *,
    out: Path | str | None = None,
    root: Path | str | None = None,
    quiet: Quiet = False,
) -> list[Pair]:
    """Find recordings of a library that are the same sound, in another format, rate, level or cut.

    For example:

        atst duplicates sounds.parquet --out duplicates.html

    Each row is compared with the 20 rows nearest to it by their features: both are read, and a pair counts
    if the fast changes of their log-mel spectrograms correlate when they are aligned. The columns are `path`,
    `start`, `end` and `other_path`, `other_start`, `other_end` (seconds), `offset` (where the other begins,
    in seconds after the first one's start) and `correlation`. A copy whose features are far from its
    original's, as they may be after a cut or without the high frequencies, is not found.

    Args:
        library: A .parquet or .npz file of `atst embed`, or a folder of them, embedded without --frames.
        out: The file to write: FILE.csv, FILE.jsonl, or FILE.html, a page with spectrograms and players of
            the surest 200 pairs. Default: a table on the screen.
        root: The folder that the library's recordings are in now, if they moved.
        quiet: Show no progress.

    Returns:
        The pairs, the surest first.

    Raises:
        UsageError: an argument or the library is invalid.
        AudioError: recordings that had to be compared cannot be read; the message lists them.
    """
    if out is not None:
        check_out(Path(out), WRITERS)
    with progress.quiet(quiet):
        opened = Library(library, root)
        pairs, skipped = find(opened)
        if out is None:
            _print(pairs)
        elif str(out).endswith(".html"):
            _write_page(Path(out), opened, pairs)
        else:
            table = pa.Table.from_pylist([asdict(pair) for pair in pairs], SCHEMA)
            write_table(Path(out), WRITERS, [table], {})
        if out is not None:
            write_errors(Path(out), skipped)
        say(f"{len(pairs):,} pairs that are the same sound, in {len(opened):,} rows")
    if skipped:
        total = len(set(opened.paths))
        raise AudioError(summary(total, skipped, None if out is None else Path(out)))
    return pairs


def _print(pairs: list[Pair]) -> None:
    rows = [
        [f"{pair.correlation:.3f}", f"{pair.offset:.2f}", str(_one(pair).name), str(_other(pair).name)]
        for pair in pairs
    ]
    print_table(["correlation", "offset", "recording", "the same"], rows)


def _one(pair: Pair, place: Path | None = None, note: str = "") -> Sound:
    return Sound(pair.path, place, pair.start, pair.end, note)


def _other(pair: Pair, place: Path | None = None, note: str = "") -> Sound:
    return Sound(pair.other_path, place, pair.other_start, pair.other_end, note)


def _write_page(out: Path, library: Library, pairs: list[Pair]) -> None:
    groups = []
    for number, pair in enumerate(pairs[:ON_PAGE], 1):
        first, second = (library.locate(row) for row in pair.rows)
        note = f"begins {pair.offset:.2f} s after the other's start"
        groups.append(
            (f"{number}. correlation {pair.correlation:.3f}", [_one(pair, first), _other(pair, second, note)])
        )
    shown = "" if len(pairs) <= ON_PAGE else f", the surest {ON_PAGE}"
    write_page(out, f"{len(pairs):,} pairs of the same sound{shown}", groups)
