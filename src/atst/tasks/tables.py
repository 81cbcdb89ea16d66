"""A `meta.csv` becomes a task."""

import csv
import os
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TextIO

from atst.errors import UsageError
from atst.sound.names import existing, is_possible, same_form
from atst.tasks.listing import SHOWN, Listing, build_task, open_table
from atst.tasks.segments import WHOLE, Segment, cut_to_files, description, parse
from atst.tasks.task import SPLITS, Task

LEAK = "results are then too good: a classifier may recognise the recording, place, device or individual"


def read_task(
    path: Path,
    name: str | None = None,
    learning_rates: Sequence[float] | None = None,
    source: str = "",
    seed: int = 0,
) -> Task:
    """The task that the CSV file at `path` describes.

    Columns: `path` (relative to the file); `label`, or `labels` if a clip may have several (separated by `;`)
    or none; `split` (train, valid, test) or `fold` (an integer), without which splits are drawn by `seed`;
    `start` and `end` in seconds if rows are segments of their files; `group`, what has to stay in one split,
    by default the recording. Other columns are ignored. `split` takes precedence over `fold`.

    Raises `UsageError` naming what is wrong: a missing file or column, an unknown split, an empty label, an
    invalid segment, a clip with two labels or in two splits, only one label, no clip to train or test on.
    """
    listing = read_table(path)
    files = [path.parent / file for file in listing.files]
    _check_files(path, files)
    check_segments(path, listing)
    name = name or f"{path.parent.resolve().name}/{path.name}"
    return build_task(
        path, path.parent, listing, seed, name=name, learning_rates=learning_rates, source=source
    )


def read_table(path: Path, lines: TextIO | None = None) -> Listing:
    """The clips in the CSV file, or in its `lines`, whether or not its audio files exist."""
    with open_table(path) if lines is None else nullcontext(lines) as stream:
        columns, rows = _read(path, stream)
    if not rows:
        raise UsageError(f"{path} has a header but no rows.")
    many = columns.label == "labels" or any(len(row.labels) > 1 for row in rows)
    if not many and (empty := next((row for row in rows if not row.labels), None)):
        raise UsageError(
            f"{path}, line {empty.line}: empty 'label'; where clips may have several labels or none, call "
            "the column 'labels'."
        )
    real = {file: os.path.realpath(path.parent / file) for file in {row.file for row in rows}}
    rows = _merged(path, rows, real, many)
    _check_apart(path, rows, real, columns.part)
    segments = [row.segment for row in rows] if columns.segments else None
    listing = Listing(
        [row.file for row in rows],
        [row.labels for row in rows],
        [row.part for row in rows],
        columns.part,
        multi_label=many,
        segments=segments,
        groups=_groups(rows, real),
        lines=[row.line for row in rows],
    )
    listing.warnings += _shared(listing, "groups" if columns.group else "recordings")
    return listing


def check_segments(path: Path, listing: Listing) -> None:
    """Cut segments of a listing to their files; the files must exist. Raises `UsageError`."""
    if listing.segments is None:
        return
    assert listing.lines is not None, "the listing is of a table"
    files = [path.parent / file for file in listing.files]
    listing.segments, warnings = cut_to_files(path, files, listing.segments, listing.lines)
    listing.warnings += warnings


@dataclass
class _Row:
    line: int
    file: str
    labels: list[str]
    part: str
    segment: Segment
    group: str


@dataclass
class _Columns:
    """Which of the possible columns a table has."""

    label: Literal["label", "labels"]
    part: Literal["split", "fold", "draw"]
    segments: bool
    group: bool


def _columns(path: Path, header: list[str]) -> _Columns:
    if "label" in header and "labels" in header:
        raise UsageError(f"{path} has both columns 'label' and 'labels': rename one of them.")
    label: Literal["label", "labels"] = "labels" if "labels" in header else "label"
    for needed in ("path", label):
        if needed not in header:
            shown = ", ".join(header) or "none"
            raise UsageError(f"{path} has no column '{needed}'; its columns are: {shown}.")
    if ("start" in header) != ("end" in header):
        lacks = "end" if "start" in header else "start"
        raise UsageError(
            f"{path} has no column '{lacks}': 'start' and 'end' (seconds) make segments; give both or none."
        )
    part: Literal["split", "fold", "draw"] = "split" if "split" in header else "fold"
    return _Columns(label, part if part in header else "draw", "start" in header, "group" in header)


def _read(path: Path, stream: TextIO) -> tuple[_Columns, list[_Row]]:
    reader = csv.DictReader(stream)
    columns = _columns(path, list(reader.fieldnames or []))
    return columns, list(_rows(path, reader, columns))


def _rows(path: Path, reader: "csv.DictReader[str]", columns: _Columns) -> Iterator[_Row]:
    """The rows, stripped and checked one by one."""
    for row in reader:
        where = f"{path}, line {reader.line_num}"

        def cell(column: str) -> str:
            return (row.get(column) or "").strip()  # noqa: B023 - called for this row alone

        part = "all" if columns.part == "draw" else cell(columns.part)
        for column, value in (("path", cell("path")), (columns.part, part)):
            if not value:
                raise UsageError(f"{where}: empty '{column}'.")
        if not is_possible(cell("path")):
            raise UsageError(f"{where}: {cell('path')!r} cannot be the name of a file.")
        if columns.part == "split" and part not in SPLITS:
            raise UsageError(f"{where}: unknown split '{part}'. Valid: {', '.join(SPLITS)}.")
        segment = parse(where, cell("start"), cell("end")) if columns.segments else WHOLE
        labels = [same_form(label.strip()) for label in cell(columns.label).split(";") if label.strip()]
        file = existing(path.parent, cell("path"))
        yield _Row(reader.line_num, file, labels, part, segment, cell("group") if columns.group else "")


def _merged(path: Path, rows: list[_Row], real: dict[str, str], many: bool) -> list[_Row]:
    """Merges rows of the same clip; in a table with one label a clip they must agree."""
    first: dict[tuple[str, Segment, str], _Row] = {}
    kept = []
    for row in rows:
        other = first.setdefault((real[row.file], row.segment, row.part if many else ""), row)
        if other is not row and many:
            other.labels = list(dict.fromkeys([*other.labels, *row.labels]))
            continue
        if other.labels != row.labels and not many:
            clip = f"{row.file}, {description(row.segment)}"
            raise UsageError(
                f"{path}, lines {other.line} and {row.line}: two labels, '{other.labels[0]}' and "
                f"'{row.labels[0]}', for {clip}; where clips may have several, call the column 'labels'."
            )
        kept.append(row)
    return kept


def _check_files(path: Path, paths: list[Path]) -> None:
    # Path.is_file() fails on names that are too long
    missing = [file for file in dict.fromkeys(paths) if not os.path.isfile(file)]  # noqa: PTH113
    if missing:
        listed = ", ".join(str(file) for file in missing[:SHOWN]) + (", ..." if len(missing) > SHOWN else "")
        raise UsageError(f"{path}: {len(missing)} of {len(set(paths))} files are missing: {listed}")


def _check_apart(path: Path, rows: list[_Row], real: dict[str, str], by: str) -> None:
    """Raises `UsageError` for a clip in two splits, also by another path or link."""
    parts: dict[tuple[str, Segment], set[str]] = {}
    for row in rows:
        parts.setdefault((real[row.file], row.segment), set()).add(row.part)
    twice = [clip for clip, splits in parts.items() if len(splits) > 1]
    if twice:
        file, segment = twice[0]
        what = "file" if segment == WHOLE else "segment"
        where = f"{file}{'' if segment == WHOLE else f', {description(segment)},'}"
        count = f"1 {what} is" if len(twice) == 1 else f"{len(twice)} {what}s are"
        both = " and ".join(sorted(parts[twice[0]]))
        raise UsageError(f"{path}: {count} in several {by}s, the first {where} in {both}: list each once.")


def _groups(rows: list[_Row], real: dict[str, str]) -> list[str] | None:
    """The recording of each row; None if no two rows share one."""
    groups = [f"group {row.group}" if row.group else f"file {real[row.file]}" for row in rows]
    return groups if len(set(groups)) < len(groups) else None


def _shared(listing: Listing, kind: str) -> list[str]:
    """A warning if clips of one recording are in several splits."""
    parts: dict[str, set[str]] = {}
    for group, part in zip(listing.groups or [], listing.parts, strict=False):
        parts.setdefault(group, set()).add(part)
    shared = {group for group, splits in parts.items() if len(splits) > 1}
    if not shared:
        return []
    clips = sum(group in shared for group in listing.groups or [])
    example = sorted(shared)[0].split(" ", 1)[1]
    return [
        f"{clips} clips come from {len(shared)} {kind} that are in several {listing.by}s, for example "
        f"{example}; {LEAK}."
    ]
