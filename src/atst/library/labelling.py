"""The loop of labelling: what to listen to next, what was said about it, and the classifier of it."""

import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atst.errors import UsageError
from atst.library.label_table import Label, LabelTable
from atst.library.learning import Accuracy, Learned, learn
from atst.library.library import Library
from atst.library.picking import DOUBTFUL, Picker
from atst.output.text import writable
from atst.sound.names import same_form

RESERVED = " +0"  # play, add a class, none
LETTERS = "abcdefghijklmnopqrstuvwxyz123456789"
GUESSES = 3  # classes that are shown with their scores


@dataclass(frozen=True)
class Trained:
    """A classifier and how it does on what was held back."""

    learned: Learned
    accuracy: Accuracy | None
    labels: int  # in the table when it was trained


class Labelling:
    """A library, a table of labels, and a classifier that follows it. All methods may be called by any thread.

    Raises `UsageError` for classes that a table cannot hold, or a library without a recording to listen to.
    """

    def __init__(self, library: Library, table: LabelTable, classes: Sequence[str], seed: int = 0) -> None:
        self.library, self.table = library, table
        self.features = (library.matrix() - library.mean) / library.std  # (N, D)
        self.files: list[str | None] = [_real(library.locate(row)) for row in range(len(library))]
        self._there = np.array([file is not None for file in self.files])
        self.rows: dict[int, Label] = {}  # the library's rows that have a label
        self.skipped: set[int] = set()
        self.given: list[int] = []  # rows that were labelled here, in order
        self.trained: Trained | None = None
        self.classes: list[str] = []
        self.keys: dict[str, str] = {}
        for name in [*classes, *table.classes]:
            self._add_class(name)
        self._check_classes()
        self._lock = threading.RLock()
        self._find_rows()
        self._picker = Picker(self.features, seed)
        self.current, self.reason = self._next()

    def state(self) -> dict[str, Any]:
        """What a page shows, ready for JSON."""
        with self._lock:
            trained, counts = self.trained, self.table.counts()
            state: dict[str, Any] = {
                "row": self.current,
                "multi": self.table.multi_label,
                "classes": [
                    {"name": name, "key": self.keys[name], "count": counts[name]} for name in self.classes
                ],
                "labelled": len(self.table.rows),
                "held": sum(label.held_back for label in self.table.rows),
                "left": int(self._free().sum()),
                "missing": len(self.library.missing),
                "undo": bool(self.given),
                "trained": 0 if trained is None else trained.labels,
                "table": writable(str(self.table.path)),
            }
            if trained is not None and trained.accuracy is not None:
                low, high = trained.accuracy.interval
                state["accuracy"] = [trained.accuracy.right, trained.accuracy.total, low, high]
            if self.current is not None:
                state |= self._about(self.current)
            return state

    def label(self, row: int, labels: Sequence[str]) -> None:
        """Say what the current row is. Raises `UsageError` if it is not `row`, or a label is no class."""
        with self._lock:
            self._check_current(row)
            if unknown := [name for name in labels if name not in self.classes]:
                raise UsageError(f"no such class: {unknown[0]}.")
            if not self.table.multi_label and len(labels) != 1:
                raise UsageError("one class a stretch; a table with the column 'labels' takes several or none.")
            path = self.library.locate(row)
            assert path is not None, "only rows with a recording are asked for"
            start, end = self._times(row)
            typical = self.reason != DOUBTFUL
            self.rows[row] = self.table.add(path, start, end, labels, typical)
            self.given.append(row)
            self.current, self.reason = self._next()

    def skip(self, row: int) -> None:
        """Do not ask for the current row again."""
        with self._lock:
            self._check_current(row)
            self.skipped.add(row)
            self.current, self.reason = self._next()

    def undo(self) -> None:
        """Take the last label that was given here back and ask for its row again."""
        with self._lock:
            if self.given:
                self.current, self.reason = self.given.pop(), ""
                self.table.remove(self.rows.pop(self.current))

    def add_class(self, name: str) -> None:
        """One more class to choose from. Raises `UsageError` for a name that a table cannot hold."""
        with self._lock:
            self._add_class(name)

    def train(self, save: Callable[[Learned], None] | None = None) -> None:
        """Train on all labels but those held back; what is asked for next follows from it."""
        with self._lock:
            rows = {row: label for row, label in self.rows.items() if label.labels or self.table.multi_label}
            count = len(self.table.rows)
        own = [row for row, label in rows.items() if not label.held_back]
        held = [row for row, label in rows.items() if label.held_back]
        learned = (
            learn(self.features[own], [rows[row].labels for row in own], self.table.multi_label) if own else None
        )
        trained = None
        if learned is not None:
            accuracy = learned.accuracy(self.features[held], [rows[row].labels for row in held])
            trained = Trained(learned, accuracy, count)
            if save is not None:
                save(learned)
        with self._lock:
            self.trained = trained
            self._picker.follow(learned)

    def _next(self) -> tuple[int | None, str]:
        return self._picker.next(self._free())

    def _free(self) -> NDArray[np.bool_]:
        """(N,): rows that can still be asked for."""
        free = self._there.copy()
        free[[*self.rows, *self.skipped]] = False
        return free

    def _about(self, row: int) -> dict[str, Any]:
        start, end = self._times(row)
        about: dict[str, Any] = {"path": writable(self.library.paths[row]), "start": start, "end": end}
        about |= {"reason": self.reason, "guesses": []}
        if self.trained is not None:
            learned = self.trained.learned
            scores = learned.scores(self.features[[row]])[0]
            best = np.argsort(-scores)[:GUESSES]
            about["guesses"] = [[learned.classes[i], round(float(scores[i]), 3)] for i in best]
        return about

    def _times(self, row: int) -> tuple[float, float]:
        return float(self.library.starts[row]), float(self.library.ends[row])

    def _check_current(self, row: int) -> None:
        if row != self.current:
            raise UsageError("that stretch is not the one that is asked for: reload the page.")

    def _add_class(self, name: str) -> None:
        name = same_form(name.strip())
        if not name or ";" in name or "\0" in name:
            raise UsageError(f"--classes: '{name}' cannot be a class: names are not empty and have no semicolon.")
        if name not in self.classes:
            self.classes.append(name)
            taken = set(self.keys.values())
            own = [letter for letter in name.lower() if letter in LETTERS]
            self.keys[name] = next((key for key in [*own, *LETTERS] if key not in taken), "")

    def _check_classes(self) -> None:
        if len(self.classes) < 2 and not self.table.multi_label:
            raise UsageError("--classes needs two classes or more, as in --classes dog,cat (one is enough with --multi-label).")

    def _find_rows(self) -> None:
        """The library's rows that the table knows already."""
        of_file: dict[str, list[Label]] = {}
        for label in self.table.rows:
            of_file.setdefault(label.file, []).append(label)
        for row, file in enumerate(self.files):
            for label in of_file.get(file, []) if file is not None else []:
                if label.covers(*self._times(row)):
                    self.rows[row] = label


def _real(path: Path | None) -> str | None:
    """The real path of a recording that a table can name."""
    real = None if path is None else os.path.realpath(path)
    return real if real == (real or "").encode(errors="replace").decode() else None
