"""A `meta.csv` becomes a task."""

import csv
import os
from collections.abc import Iterator
from pathlib import Path

from atst.errors import UsageError
from atst.tasks.listing import SHOWN, Listing, build_task, open_table
from atst.tasks.task import SPLITS, Task


def read_task(
    path: Path, name: str | None = None, rates: tuple[float, ...] | None = None, source: str = ""
) -> Task:
    """The task that the CSV file at `path` describes.

    Columns: `path` (relative to the file), `label` (several separated by `;` in any row make the task
    multi-label), and `split` (train, valid, test) or `fold` (an integer). Others are ignored. `split`
    wins if both are there.

    Raises `UsageError` naming what is wrong: a missing file or column, an unknown split, an empty label,
    missing audio files, a file in two parts, fewer than two labels, no clip to train on or to test on.
    """
    listing = read_table(path)
    files = [path.parent / file for file in listing.files]
    _check_files(path, files)
    _check_apart(path, files, listing)
    name = name or f"{path.parent.resolve().name}/{path.name}"
    return build_task(path, path.parent, listing, name=name, rates=rates, source=source)


def read_table(path: Path) -> Listing:
    """What the CSV file says, whether or not its audio files exist."""
    files: list[str] = []
    cells: list[str] = []
    parts: list[str] = []
    column = ""
    for column, file, label, part in _rows(path):  # noqa: B007 - the same for all rows
        files.append(file)
        cells.append(label)
        parts.append(part)
    if not files:
        raise UsageError(f"{path} has a header but no rows.")
    labels = [[label.strip() for label in cell.split(";") if label.strip()] for cell in cells]
    many = any(";" in cell for cell in cells)
    return Listing(files, labels, parts, "split" if column == "split" else "fold", multi_label=many)


def _rows(path: Path) -> Iterator[tuple[str, str, str, str]]:
    """(column of the part, file, label, part) of each row, stripped and checked."""
    with open_table(path) as stream:
        reader = csv.DictReader(stream)
        header = reader.fieldnames or []
        column = "split" if "split" in header else "fold"
        for needed in ("path", "label", column):
            if needed not in header:
                wanted = "'split' or 'fold'" if needed == "fold" else f"'{needed}'"
                raise UsageError(
                    f"{path} has no column {wanted}; its columns are: {', '.join(header) or 'none'}."
                )
        for row in reader:
            values = [(row[key] or "").strip() for key in ("path", "label", column)]
            if not all(values):
                empty = ("path", "label", column)[values.index("")]
                raise UsageError(f"{path}, line {reader.line_num}: empty '{empty}'.")
            if column == "split" and values[2] not in SPLITS:
                where = f"{path}, line {reader.line_num}"
                raise UsageError(f"{where}: unknown split '{values[2]}'. Valid: {', '.join(SPLITS)}.")
            yield column, values[0], values[1], values[2]


def _check_files(path: Path, paths: list[Path]) -> None:
    missing = [file for file in paths if not file.is_file()]
    if missing:
        listed = ", ".join(str(file) for file in missing[:SHOWN]) + (", ..." if len(missing) > SHOWN else "")
        raise UsageError(f"{path}: {len(missing)} of {len(paths)} files are missing: {listed}")


def _check_apart(path: Path, files: list[Path], listing: Listing) -> None:
    """No file, by whatever path or link, is in two parts: what is trained on must not test."""
    parts: dict[str, set[str]] = {}
    for file, part in zip(files, listing.parts, strict=True):
        parts.setdefault(os.path.realpath(file), set()).add(part)
    twice = [file for file, own in parts.items() if len(own) > 1]
    if twice:
        where = " and ".join(sorted(parts[twice[0]]))
        kind = "splits" if listing.by == "split" else "folds"
        count = "1 file is" if len(twice) == 1 else f"{len(twice)} files are"
        raise UsageError(
            f"{path}: {count} in several {kind}, the first {twice[0]} in {where}: list each in one."
        )
