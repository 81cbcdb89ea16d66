"""Rows of `atst predict` as one table for Raven or Audacity, written as they come."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import pyarrow as pa

from atst.errors import UsageError
from atst.events.write import RAVEN, one_line, plain

Write = Callable[[pa.Table], None]
BAND = ("0", "8000")  # Hz: what there is to hear at 16 kHz


@contextmanager
def raven_file(path: Path, schema: pa.Schema, about: str) -> Iterator[Write]:
    """A selection table of all recordings in a row: times run on over them, and File Offset tells where."""
    with path.open("w", encoding="utf-8", newline="") as stream:
        columns = (*RAVEN, "Begin File", "Begin Path", "File Offset (s)", "Annotation", "Confidence")
        _line(stream, columns)
        count, before, length, current = 0, 0.0, 0.0, ""  # s before the current recording, and in it

        def write(table: pa.Table) -> None:
            nonlocal count, before, length, current
            for row in table.to_pylist():
                if row["path"] != current:
                    before, length, current = before + length, 0.0, row["path"]
                length = max(length, row["end"])
                times = (plain(before + row["start"]), plain(before + row["end"]))
                file = (one_line(Path(current).name), one_line(current), plain(row["start"]))
                for label, score in _labels(row):
                    count += 1
                    place = (str(count), "Spectrogram 1", "1", *times, *BAND, *file)
                    _line(stream, (*place, one_line(label), plain(score)))

        yield write


@contextmanager
def audacity_file(path: Path, schema: pa.Schema, about: str) -> Iterator[Write]:
    """A label track, with the score as a fourth field. Raises `UsageError` at a second recording."""
    with path.open("w", encoding="utf-8", newline="") as stream:
        current = ""

        def write(table: pa.Table) -> None:
            nonlocal current
            for row in table.to_pylist():
                current = current or row["path"]
                check_one_recording([current, row["path"]])
                for label, score in _labels(row):
                    _line(stream, (plain(row["start"]), plain(row["end"]), one_line(label), plain(score)))

        yield write


def check_one_recording(paths: Iterable[str]) -> None:
    """Raises `UsageError` if the paths, those of a label track, are of more than one recording."""
    first, *more = dict.fromkeys(paths) or [""]
    if more:
        hint = "write FILE.selections.txt, or FILE.csv"
        raise UsageError(f"--out: a label track is of one recording, not of {first} and {more[0]}: {hint}.")


def _labels(row: dict[str, Any]) -> list[tuple[str, float]]:
    """The labels that a row has, with their scores: none where the classifier abstained."""
    if "labels" in row:
        return list(zip(row["labels"], row["scores"], strict=True))
    return [] if row["label"] is None else [(row["label"], row["score"])]


def _line(stream: TextIO, cells: tuple[str, ...]) -> None:
    stream.write("\t".join(cells) + "\n")
