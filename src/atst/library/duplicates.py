"""Pairs of rows that are the same sound: near each other by features, then equal by aligned log-mels."""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from atst.errors import AudioError, UsageError
from atst.library.alignment import Print, Printer, match
from atst.library.index import Index
from atst.library.media import LONGEST
from atst.library.similarity import best, directions
from atst.output.progress import track
from atst.output.skipped import Skipped
from atst.sound import isolated

if TYPE_CHECKING:
    from atst.library.library import Library

NEAREST = 20  # rows that each row is compared with
SAME = 0.75  # correlation from which on two stretches are one recording; other takes of short words reach 0.7
PROMISING = 0.3  # correlation with frames half a step apart, from which on a pair is looked at more closely
MOST_EXACT = 100_000  # rows whose neighbours are found without an index
BLOCK = 256  # rows compared with all others at a time
MEMORY = 1 << 30  # bytes of prints that are kept


@dataclass(frozen=True)
class Pair:
    """Two stretches that are the same sound."""

    path: str
    start: float  # s; NaN: not known
    end: float
    other_path: str
    other_start: float
    other_end: float
    offset: float  # s from the first stretch's start to the place where the second one's start lies on it
    correlation: float  # of the aligned log-mels, up to 1
    rows: tuple[int, int]


def duplicates(library: "Library") -> tuple[list[Pair], list[Skipped]]:
    """The pairs, the surest first, and the recordings that could not be read.

    Raises `UsageError` for a library of single frames, or one so large that it needs an index that is not
    installed.
    """
    if library.metadata.get("frames"):
        raise UsageError(f"{library.path}: its rows are patches of 40 ms; embed without --frames.")
    prints = _Prints(library)
    found = []
    for row, others in track(_neighbours(library), "comparing", len(library)):
        for other in others:
            if not _overlap(library, row, other) and (pair := prints.compare(row, other)) is not None:
                found.append(pair)
    return sorted(found, key=lambda pair: (-pair.correlation, pair.rows)), prints.skipped


def _neighbours(library: "Library") -> Iterator[tuple[int, list[int]]]:
    """Each row with its nearest ones, each pair once."""
    seen: set[tuple[int, int]] = set()
    row = 0
    for rows in _nearest(library):
        for near in rows:
            pairs = {(min(row, other), max(row, other)) for other in near.tolist() if other not in (row, -1)}
            fresh = pairs - seen
            seen |= fresh
            yield row, sorted(one + other - row for one, other in fresh)
            row += 1


def _nearest(library: "Library") -> Iterator[NDArray[np.int64]]:
    """The nearest rows (B, k) of some rows after the other, themselves among them; -1 is none."""
    count = min(NEAREST + 1, len(library))
    if len(library) > MOST_EXACT:
        index = Index(library)
        for vectors in library.features():
            yield index.found(directions(library, vectors), count)
        return
    whole = np.concatenate([directions(library, vectors) for vectors in library.features()])
    for at in range(0, len(whole), BLOCK):
        yield best(whole[at : at + BLOCK] @ whole.T, count)


def _overlap(library: "Library", row: int, other: int) -> bool:
    """Whether both are stretches of one recording that have a part in common."""
    if library.paths[row] != library.paths[other]:
        return False
    begin = max(library.starts[row], library.starts[other])
    return not begin >= min(library.ends[row], library.ends[other])  # NaN: not known


class _Prints:
    """Reads rows, and keeps what it compares as far as memory goes."""

    def __init__(self, library: "Library") -> None:
        self.library = library
        self.printer = Printer()
        self.kept: OrderedDict[int, Print] = OrderedDict()
        self.size = 0
        self.failed: dict[str, str] = {}

    @property
    def skipped(self) -> list[Skipped]:
        return list(self.failed.items())

    def compare(self, row: int, other: int) -> Pair | None:
        """The pair if both are the same sound."""
        try:
            one, two = self._print(row), self._print(other)
            if match(one, two).correlation < PROMISING:
                return None
            found = match(one, self._made(other, closely=True))
        except AudioError:
            return None
        if found.correlation < SAME:
            return None
        library = self.library
        first, second = ((library.paths[i], library.starts[i], library.ends[i]) for i in (row, other))
        return Pair(*first, *second, round(found.offset, 4), found.correlation, (row, other))

    def _print(self, row: int) -> Print:
        if row not in self.kept:
            self.kept[row] = self._made(row)
            self.size += self.kept[row].phases.nbytes
            while self.size > MEMORY and len(self.kept) > 1:
                self.size -= self.kept.popitem(last=False)[1].phases.nbytes
        self.kept.move_to_end(row)
        return self.kept[row]

    def _made(self, row: int, closely: bool = False) -> Print:
        """Raises `AudioError` where the recording cannot be read, which is noted once."""
        library, path = self.library, self.library.paths[row]
        if path in self.failed:
            raise AudioError(self.failed[path])
        start, end = np.nan_to_num(library.starts[row]), library.ends[row]
        length = LONGEST if np.isnan(end) else min(LONGEST, float(end - start))
        try:
            if (place := library.locate(row)) is None:
                raise AudioError("not on this disk")
            return self.printer(isolated.read(place, float(start), length, partial=True), closely)
        except AudioError as error:
            self.failed[path] = str(error).removeprefix(f"{place}: ")
            raise
