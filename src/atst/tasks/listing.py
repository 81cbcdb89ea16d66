"""The clips that metadata files list, and the task made of them."""

import csv
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import chain, compress
from pathlib import Path
from typing import Any, Literal, TextIO

import numpy as np
from numpy.typing import NDArray

from atst.errors import UsageError
from atst.sound.names import same_form
from atst.sound.walk import walk
from atst.tasks.division import drawn
from atst.tasks.segments import Segment
from atst.tasks.task import SPLITS, Task

SHOWN = 5  # files that a message names


@dataclass
class Listing:
    """Clips with their labels, one entry each."""

    files: list[str] = field(
        default_factory=list
    )  # relative to the data set's folder; the clip's id where no file was found
    labels: list[Sequence[str]] = field(default_factory=list)
    parts: list[str] = field(default_factory=list)  # "train", "valid" and "test", or the numbers of folds
    by: Literal["split", "fold", "draw"] = "split"  # "draw": splits are still to be drawn
    classes: list[str] | None = None  # in the official order; None: as they occur, sorted
    multi_label: bool = False
    segments: list[Segment] | None = None  # None: every clip is a whole file
    groups: list[str] | None = None  # the recording of each clip; None: all differ
    tested: list[bool] | None = None  # with folds; None: all clips
    lines: list[int] | None = None  # of the table
    warnings: list[str] = field(default_factory=list)

    def add(self, file: str, labels: Sequence[str], part: str) -> None:
        """Add a clip."""
        self.files.append(file)
        self.labels.append(labels)
        self.parts.append(part)

    def kept(self, there: Sequence[bool]) -> "Listing":
        """Only the clips whose entry in `there` is true."""
        columns = ("files", "labels", "parts", "segments", "groups", "tested", "lines")
        kept: dict[str, Any] = {
            name: list(compress(values, there)) for name in columns if (values := getattr(self, name))
        }
        return replace(self, **kept)


def build_task(where: object, folder: Path | None, listing: Listing, seed: int = 0, **rest: Any) -> Task:
    """The task of a listing whose files are relative to `folder`.

    Missing splits are drawn by `seed`. Messages name `where`, a file or a folder. `rest` are further fields
    of `Task`: `name`, `waveform` if there is no folder, and so on. Raises `UsageError` for invalid labels or
    splits.
    """
    if not listing.files:
        raise UsageError(f"{where} lists no clips.")
    labels, label_names = encode(where, listing)
    task = Task(
        names=listing.files,
        labels=labels,
        label_names=label_names,
        splits=np.array(listing.parts) if listing.by == "split" else None,
        folds=_folds(where, listing.parts) if listing.by == "fold" else None,
        folder=folder,
        segments=None if listing.segments is None else np.array(listing.segments, dtype=np.float64),
        groups=None if listing.groups is None else np.unique(listing.groups, return_inverse=True)[1],
        tested=None if listing.tested is None else np.array(listing.tested),
        warnings=tuple(listing.warnings),
        **rest,
    )
    task = drawn(task, seed)
    _check_parts(where, task)
    return task


def with_files(listing: Listing, audio: set[str]) -> tuple[Listing, list[str]]:
    """The clips whose file is in `audio`, and the names of the others."""
    there = [file in audio for file in listing.files]
    return listing.kept(there), [file for file, found in zip(listing.files, there, strict=True) if not found]


def audio_under(folder: Path, within: Iterable[str] = ("",)) -> set[str]:
    """Audio files under some subfolders of `folder`, as paths relative to it, with forward slashes.

    Links to folders are followed, each folder once. Raises `UsageError` for a folder that cannot be read:
    a class or a split would be missing.
    """
    skipped: list[tuple[str, str]] = []
    seen: set[str] = set()
    prefix = len(os.fspath(folder / "_")) - 1
    found = {file[prefix:] for start in within for file in walk(folder / start, skipped, seen)}
    for path, reason in skipped:
        if Path(path).is_dir():
            raise UsageError(f"{path}: {reason}")
    return found


def read_rows(path: Path, needed: tuple[str, ...]) -> Iterator[dict[str, str]]:
    """The rows of a CSV file that must have the columns `needed`; values stripped. Raises `UsageError`."""
    with open_table(path) as stream:
        reader = csv.DictReader(stream)
        header = reader.fieldnames or []
        for column in needed:
            if column not in header:
                shown = ", ".join(header) or "none"
                raise UsageError(f"{path} has no column '{column}'; its columns are: {shown}.")
        for row in reader:
            yield {column: (row[column] or "").strip() for column in needed}


def read_lines(path: Path) -> list[str]:
    """The lines of a text file, stripped, without empty ones. Raises `UsageError`."""
    with open_table(path) as stream:
        return [line.strip() for line in stream if line.strip()]


@contextmanager
def open_table(path: Path) -> Iterator[TextIO]:
    """A text file to read. Raises `UsageError`, also while it is read."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            yield stream
    except OSError as error:
        raise UsageError(f"cannot read the task's table {path}: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not in UTF-8 ({error}): save it as UTF-8.") from error
    except csv.Error as error:
        raise UsageError(f"{path} is not a CSV file: {error}.") from error


def encode(where: object, listing: Listing) -> tuple[NDArray, list[str]]:
    """Class indices (n,) int64, or multi-hot (n, C) uint8, and the names of the classes.

    A multi-label task may have a single class, present or absent.
    """
    found = {label: same_form(label) for label in set(chain.from_iterable(listing.labels))}
    names = class_names(listing)
    if len(names) < (1 if listing.multi_label else 2):
        has = f"only one label, '{names[0]}'" if names else "no label"
        raise UsageError(f"{where} has {has}: there is nothing to classify.")
    number = {name: i for i, name in enumerate(names)}
    if strange := sorted(label for label, same in found.items() if not {label, same} & number.keys()):
        raise UsageError(f"{where}: label '{strange[0]}' is not one of its {len(names)} classes.")
    number |= {label: number[same] for label, same in found.items() if label not in number}
    if not listing.multi_label:
        return np.array([number[labels[0]] for labels in listing.labels], dtype=np.int64), names
    hot = np.zeros((len(listing.labels), len(names)), dtype=np.uint8)
    rows = np.repeat(np.arange(len(hot)), list(map(len, listing.labels)))
    hot[rows, list(map(number.__getitem__, chain.from_iterable(listing.labels)))] = 1
    if hot.all():
        raise UsageError(
            f"{where}: every clip has the label '{names[0]}', so there is nothing to classify; clips without "
            "it have an empty cell."
        )
    return hot, names


def class_names(listing: Listing) -> list[str]:
    """The names of the classes: in the official order if there is one, else sorted."""
    found = {same_form(label) for label in set(chain.from_iterable(listing.labels))}
    return listing.classes or sorted(found, key=_natural)


def _natural(name: str) -> tuple[bool, float, str]:
    """Numbers by value, before text, so that class 10 follows class 9."""
    return (False, float(name), name) if name.isdecimal() else (True, 0.0, name)


def _folds(where: object, parts: list[str]) -> NDArray[np.int64]:
    wrong = next((part for part in parts if not part.lstrip("-").isdecimal()), None)
    if wrong is not None:
        raise UsageError(f"{where}: fold '{wrong}' is not an integer.")
    return np.array([int(part) for part in parts], dtype=np.int64)


def _check_parts(where: object, task: Task) -> None:
    splits = task.splits
    if task.folds is not None and len(np.unique(task.folds)) < 2:
        raise UsageError(f"{where} has only one fold; cross-validation needs two or more.")
    if splits is not None and (strange := sorted(set(splits.tolist()) - set(SPLITS))):
        raise UsageError(f"{where}: unknown split '{strange[0]}'. Valid: {', '.join(SPLITS)}.")
    for needed in ("train", "test"):
        if splits is not None and needed not in splits:
            raise UsageError(f"{where} has no clip whose split is '{needed}'.")
    for part in np.unique(task.parts) if task.multi_label else []:
        if not task.class_counts(np.flatnonzero(task.parts == part)).any():
            raise UsageError(f"{where}: no clip of {task.by} '{part}' has a label, so there is no mAP.")
