"""A `meta.csv` becomes a task."""

import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from atst.errors import UsageError
from atst.tasks.task import SPLITS, Task

SHOWN = 5  # missing files that a message names


def read_task(
    path: Path, name: str | None = None, rates: tuple[float, ...] | None = None, source: str = ""
) -> Task:
    """The task that the CSV file at `path` describes.

    Columns: `path` (relative to the file), `label` (several separated by `;` in any row make the task
    multi-label), and `split` (train, valid, test) or `fold` (an integer). Others are ignored. `split`
    wins if both are there.

    Raises `UsageError` naming what is wrong: a missing file or column, an unknown split, an empty label,
    missing audio files, fewer than two labels, no clip to train on or to test on.
    """
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
    paths = [path.parent / file for file in files]
    _check_files(path, paths)
    labels, label_names = _labels(path, cells)
    splits = np.array(parts) if column == "split" else None
    folds = None if column == "split" else _folds(path, parts)
    _check_parts(path, splits, folds)
    return Task(
        name or f"{path.parent.name}/{path.name}",
        files,
        labels,
        label_names,
        splits,
        folds,
        paths,
        None,
        rates,
        source,
    )


def _rows(path: Path) -> Iterator[tuple[str, str, str, str]]:
    """(column of the part, file, label, part) of each row, stripped and checked."""
    try:
        stream = path.open(newline="", encoding="utf-8-sig")
    except OSError as error:
        raise UsageError(f"cannot read the task's table {path}: {error.strerror}.") from error
    with stream:
        reader = csv.DictReader(stream)
        header = reader.fieldnames or []
        column = "split" if "split" in header else "fold"
        for needed in ("path", "label", column):
            if needed not in header:
                wanted = "'split' or 'fold'" if needed == "fold" else f"'{needed}'"
                raise UsageError(
                    f"{path} has no column {wanted}; its columns are: {', '.join(header) or 'none'}."
                )
        try:
            for row in reader:
                values = [(row[key] or "").strip() for key in ("path", "label", column)]
                if not all(values):
                    empty = ("path", "label", column)[values.index("")]
                    raise UsageError(f"{path}, line {reader.line_num}: empty '{empty}'.")
                if column == "split" and values[2] not in SPLITS:
                    where = f"{path}, line {reader.line_num}"
                    raise UsageError(f"{where}: unknown split '{values[2]}'. Valid: {', '.join(SPLITS)}.")
                yield column, values[0], values[1], values[2]
        except (csv.Error, UnicodeDecodeError) as error:
            raise UsageError(f"{path} is not a CSV file in UTF-8: {error}.") from error


def _labels(path: Path, cells: list[str]) -> tuple[NDArray, list[str]]:
    sets = [[label.strip() for label in cell.split(";") if label.strip()] for cell in cells]
    names = sorted({label for labels in sets for label in labels}, key=_natural)
    if len(names) < 2:
        raise UsageError(f"{path} has only one label, '{names[0] if names else ''}': nothing to tell apart.")
    number = {name: i for i, name in enumerate(names)}
    if not any(";" in cell for cell in cells):
        return np.array([number[labels[0]] for labels in sets], dtype=np.int64), names
    hot = np.zeros((len(sets), len(names)), dtype=np.uint8)
    for row, labels in zip(hot, sets, strict=True):
        row[[number[label] for label in labels]] = 1
    return hot, names


def _natural(name: str) -> tuple[bool, float, str]:
    """Numbers by value and before words, so that class 10 follows class 9."""
    return (False, float(name), name) if name.isdecimal() else (True, 0.0, name)


def _folds(path: Path, parts: list[str]) -> NDArray[np.int64]:
    wrong = next((part for part in parts if not part.lstrip("-").isdecimal()), None)
    if wrong is not None:
        raise UsageError(f"{path}: fold '{wrong}' is not an integer.")
    return np.array([int(part) for part in parts], dtype=np.int64)


def _check_files(path: Path, paths: list[Path]) -> None:
    missing = [file for file in paths if not file.is_file()]
    if missing:
        listed = ", ".join(str(file) for file in missing[:SHOWN]) + (", ..." if len(missing) > SHOWN else "")
        raise UsageError(f"{path}: {len(missing)} of {len(paths)} files are missing: {listed}")


def _check_parts(path: Path, splits: NDArray | None, folds: NDArray | None) -> None:
    if folds is not None and len(np.unique(folds)) < 2:
        raise UsageError(f"{path} has only one fold; cross-validation needs two or more.")
    for needed in ("train", "test"):
        if splits is not None and needed not in splits:
            raise UsageError(f"{path} has no clip whose split is '{needed}'.")
