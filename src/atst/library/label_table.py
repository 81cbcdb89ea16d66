"""The `meta.csv` that labelling writes: a row a labelled stretch, as `atst probe` takes it."""

import csv
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from atst.errors import UsageError
from atst.events.write import relative
from atst.output.atomic import write_csv
from atst.sound.names import existing, same_form

NEEDED = ("path", "start", "end", "split")
HELD_BACK = 0.2  # of the stretches of each class
TEST, TRAIN = "test", "train"
SAME = 1e-3  # s: times that differ by less are the same stretch


@dataclass
class Label:
    """A row of the table: a stretch of a recording and what it was called."""

    cells: dict[str, str]
    file: str  # the recording's real path
    labels: list[str]

    @property
    def held_back(self) -> bool:
        """Whether it measures the classifier and does not train it."""
        return self.cells["split"] != TRAIN

    @property
    def times(self) -> tuple[float, float] | None:
        """Start and end in seconds; None for a whole file."""
        if not self.cells["start"] or not self.cells["end"]:
            return None
        return float(self.cells["start"]), float(self.cells["end"])

    def covers(self, start: float, end: float) -> bool:
        """Whether it is the stretch from `start` to `end`; a whole file's label is not that of a part."""
        return self.times is not None and max(abs(self.times[0] - start), abs(self.times[1] - end)) < SAME


class LabelTable:
    """Labels in the order in which they were given, those that were in the file before included.

    With `multi_label` the column is `labels`, and a stretch may have several, separated by `;`, or none.
    An existing table decides by itself which it is; its other columns are kept. The file is written whole and
    atomically by every change. Raises `UsageError` for any other file.
    """

    def __init__(self, path: Path, multi_label: bool = False) -> None:
        self.path, self.multi_label = path, multi_label
        self.header = ["path", "start", "end", self._column, "split"]
        self.rows: list[Label] = []
        self.of_file: dict[str, list[Label]] = {}  # the same by the recording's real path
        if path.exists():
            self._read()

    @property
    def _column(self) -> str:
        return "labels" if self.multi_label else "label"

    @property
    def classes(self) -> list[str]:
        """The labels in the order of their first use."""
        return list(dict.fromkeys(label for row in self.rows for label in row.labels))

    def find(self, file: str, start: float, end: float) -> Label | None:
        """The row of a stretch of the recording at the real path `file`."""
        return next((row for row in self.of_file.get(file, []) if row.covers(start, end)), None)

    def add(self, path: Path, start: float, end: float, labels: Sequence[str], typical: bool = True) -> Label:
        """Label a stretch and write the table; it is held back if its recording or its class has to be.

        `typical`: it stands for others, not for doubtful cases; those are held back first.
        """
        cells = dict.fromkeys(self.header, "")
        cells |= {"path": relative(path, self.path), "start": f"{start:.6f}", "end": f"{end:.6f}"}
        cells |= {self._column: ";".join(labels)}
        label = Label(cells, os.path.realpath(path), list(labels))
        cells["split"] = self._split(label, typical)
        self._append(label)
        self._write()
        return label

    def remove(self, label: Label) -> None:
        """Take a row back and write the table."""
        self.rows = [row for row in self.rows if row is not label]
        self.of_file[label.file] = [row for row in self.of_file[label.file] if row is not label]
        self._write()

    def counts(self) -> Counter[str]:
        """How many stretches have each label."""
        return Counter(label for row in self.rows for label in row.labels)

    def _append(self, label: Label) -> None:
        self.rows.append(label)
        self.of_file.setdefault(label.file, []).append(label)

    def _split(self, label: Label, typical: bool) -> str:
        """That of the other stretches of the recording; else `test` where a fifth of its class is not yet."""
        for other in self.of_file.get(label.file, []):
            if other is not label and other.cells["split"]:
                return other.cells["split"]
        first = label.labels[:1]
        alike = [row.held_back for row in self.rows if row.labels[:1] == first and row.cells["split"]]
        return share_held_back(alike, typical)

    def _read(self) -> None:
        try:
            with self.path.open(newline="", encoding="utf-8-sig") as stream:
                reader = csv.DictReader(stream, restval="")
                header, rows = list(reader.fieldnames or []), list(reader)
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not a CSV file in UTF-8"
            raise UsageError(f"--labels {self.path}: cannot be read: {reason}.") from None
        self._check(header, rows)
        self.multi_label = "labels" in header
        self.header = [*header, *(name for name in NEEDED if name not in header)]
        for number, row in enumerate(rows, 1):
            self._append(self._label({name: row.get(name) or "" for name in self.header}, number))
        for label in self.rows:  # a table without splits gets them as if it had been labelled here
            label.cells["split"] = label.cells["split"] or self._split(label, True)

    def _check(self, header: list[str], rows: list[dict[str, str]]) -> None:
        if "path" not in header or not {"label", "labels"} & set(header):
            has = ", ".join(header) or "none"
            raise UsageError(
                f"--labels {self.path}: needs columns 'path' and 'label', or 'labels'; it has: {has}."
            )
        if "labels" not in header and self.multi_label:
            raise UsageError(
                f"--labels {self.path}: has the column 'label', one a row; call it 'labels' for several."
            )
        if any(None in row for row in rows):
            raise UsageError(f"--labels {self.path}: a row has more cells than the header.")

    def _label(self, cells: dict[str, str], number: int) -> Label:
        parts = cells[self._column].split(";") if self.multi_label else [cells[self._column]]
        labels = [same_form(part.strip()) for part in parts if part.strip()]
        name = existing(self.path.parent, cells["path"])
        label = Label(cells, os.path.realpath(self.path.parent / name), labels)
        try:
            _ = label.times
        except ValueError:
            raise UsageError(f"--labels {self.path}, row {number}: start and end must be seconds.") from None
        if cells["split"] not in ("", TRAIN, "valid", TEST):
            where = f"--labels {self.path}, row {number}"
            raise UsageError(f"{where}: unknown split '{cells['split']}'. Valid: train, valid, test.")
        return label

    def _write(self) -> None:
        write_csv(self.path, self.header, ([row.cells[name] for name in self.header] for row in self.rows))


def share_held_back(alike: Sequence[bool], typical: bool) -> str:
    """The split of a stretch, so that a fifth of its class is held back, of whose others some are already.

    A `typical` stretch is preferred: doubtful ones would make the classifier look worse than it is.
    """
    lacking = HELD_BACK * (len(alike) + 1) - sum(alike)
    return TEST if lacking >= (1 if typical else 2) - 1e-9 else TRAIN
