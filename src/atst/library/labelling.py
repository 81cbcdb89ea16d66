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
from atst.library.sample import draw, standardised
from atst.output.text import writable
from atst.sound.names import same_form

LETTERS = "abcdefghijklmnopqrstuvwxyz123456789"  # keys of classes; 0 is none of them
GUESSES = 3  # classes that are shown with their scores
LARGEST = 50_000  # rows of a library to choose from; of more, so many are drawn


@dataclass(frozen=True)
class Trained:
    """A classifier and how it does on what was held back."""

    learned: Learned
    accuracy: Accuracy | None
    labels: int  # in the table when it was trained


class Labelling:
    """A library, a table of labels, and a classifier that follows it. Any thread may call any method.

    Stretches are numbered as `rows` lists them, the library's rows that have a recording that a table can
    name. Raises `UsageError` for classes that a table cannot hold, or a library without such a row.
    """

    def __init__(
        self, library: Library, table: LabelTable, classes: Sequence[str], seed: int = 0, random: bool = False
    ) -> None:
        self.library, self.table = library, table
        self.classes: list[str] = []
        self.keys: dict[str, str] = {}
        for name in [*classes, *table.classes]:
            self._add_class(name)
        self._check_classes()
        self.rows, self._files = _with_files(library, seed)
        self.features = standardised(library, self.rows)  # (n, D)
        self.known = self._known()
        self.skipped: set[int] = set()
        self.given: list[int] = []  # what was labelled here, in order
        self.trained: Trained | None = None
        self._lock = threading.RLock()
        self._picker = Picker(self.features, seed, 1 if random else 2)
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
            return state if self.current is None else state | self._about(self.current)

    def label(self, number: int, labels: Sequence[str]) -> None:
        """Say what the current stretch is. Raises `UsageError` for another one, or an unknown class."""
        with self._lock:
            self._check_current(number)
            if unknown := [name for name in labels if name not in self.classes]:
                raise UsageError(f"no such class: {unknown[0]}.")
            if not self.table.multi_label and len(labels) != 1:
                raise UsageError("one class a stretch; a table with the column 'labels' takes several.")
            path, start, end = self.place(number)
            self.known[number] = self.table.add(path, start, end, labels, self.reason != DOUBTFUL)
            self.given.append(number)
            self.current, self.reason = self._next()

    def skip(self, number: int) -> None:
        """Do not ask for the current stretch again."""
        with self._lock:
            self._check_current(number)
            self.skipped.add(number)
            self.current, self.reason = self._next()

    def undo(self) -> None:
        """Take the last label that was given here back and ask for its stretch again."""
        with self._lock:
            if self.given:
                self.current, self.reason = self.given.pop(), ""
                self.table.remove(self.known.pop(self.current))

    def add_class(self, name: str) -> None:
        """One more class to choose from. Raises `UsageError` for a name that a table cannot hold."""
        with self._lock:
            self._add_class(name)

    def train(self, save: Callable[[Learned], None] | None = None) -> None:
        """Train on all labels but those held back; what is asked for next follows from it."""
        with self._lock:
            multi, count = self.table.multi_label, len(self.table.rows)
            known = {i: label for i, label in self.known.items() if multi or len(label.labels) == 1}
        own = [i for i, label in known.items() if not label.held_back]
        held = [i for i, label in known.items() if label.held_back]
        learned = learn(self.features[own], [known[i].labels for i in own], multi)
        trained = None
        if learned is not None:
            accuracy = learned.accuracy(self.features[held], [known[i].labels for i in held])
            trained = Trained(learned, accuracy, count)
            if save is not None:
                save(learned)
        with self._lock:
            self.trained = trained
            self._picker.follow(learned)

    def place(self, number: int) -> tuple[Path, float, float]:
        """The recording of a stretch, and its start and end in seconds. Raises `IndexError`."""
        row = int(self.rows[number])
        path = self.library.locate(row)
        assert path is not None, "rows without a recording are left out"
        return path, float(self.library.starts[row]), float(self.library.ends[row])

    def _next(self) -> tuple[int | None, str]:
        return self._picker.next(self._free())

    def _free(self) -> NDArray[np.bool_]:
        """(n,): stretches that can still be asked for."""
        free = np.ones(len(self.rows), bool)
        free[[*self.known, *self.skipped]] = False
        return free

    def _about(self, number: int) -> dict[str, Any]:
        _, start, end = self.place(number)
        path = writable(self.library.paths[int(self.rows[number])])
        about: dict[str, Any] = {"path": path, "start": start, "end": end, "reason": self.reason}
        if self.trained is not None:
            learned = self.trained.learned
            scores = learned.scores(self.features[[number]])[0]
            best = np.argsort(-scores)[:GUESSES]
            about["guesses"] = [[learned.classes[i], round(float(scores[i]), 3)] for i in best]
        return about

    def _check_current(self, number: int) -> None:
        if number != self.current:
            raise UsageError("that stretch is not the one that is asked for: reload the page.")

    def _add_class(self, name: str) -> None:
        name = same_form(name.strip())
        if not name.isprintable() or not name or ";" in name:
            shown = writable(name).encode("unicode_escape").decode()
            raise UsageError(f"'{shown}' cannot be a class: a name is one line of text without a semicolon.")
        if name not in self.classes:
            self.classes.append(name)
            taken = set(self.keys.values())
            own = [letter for letter in name.lower() if letter in LETTERS]
            self.keys[name] = next((key for key in [*own, *LETTERS] if key not in taken), "")

    def _check_classes(self) -> None:
        if len(self.classes) < (1 if self.table.multi_label else 2):
            raise UsageError(
                "--classes: two or more are needed, as in --classes dog,cat; with --multi-label one."
            )

    def _known(self) -> dict[int, Label]:
        """The stretches that the table has already."""
        found = (
            (number, self.table.find(file, *self.place(number)[1:]))
            for number, file in enumerate(self._files)
        )
        return {number: label for number, label in found if label is not None}


def _with_files(library: Library, seed: int) -> tuple[NDArray[np.int64], list[str]]:
    """The rows to choose from and the real path of each's recording."""
    rows = draw(library, LARGEST, seed)
    real = [_real(library.locate(int(row))) for row in rows]
    files = [file for file in real if file is not None]
    if not files:
        raise UsageError(f"{library.path}: none of its recordings is there; --root says where they are now.")
    return rows[[file is not None for file in real]], files


def _real(path: Path | None) -> str | None:
    """The real path of a recording, if a table can name it: its text is UTF-8, without outer blanks or CR."""
    real = "" if path is None else os.path.realpath(path)
    plain = real.strip() == real.encode(errors="replace").decode() and "\r" not in real
    return real if real and plain else None
