"""How much of a list of recordings is done, in hours, though their lengths are not known before."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from atst.output.progress import Progress
from atst.sound.packed import Stored
from atst.sound.recording import Recording
from atst.sound.windows import Reading


@dataclass
class _Kind:
    """Files with one ending."""

    waiting: float = 0.0  # bytes of those that are not read yet
    read: float = 0.0  # bytes of those that are
    seconds: float = 0.0  # of sound in these


class Amount:
    """Hours done and in all; a file that waits counts by its size, at its kind's bytes a second so far."""

    def __init__(self, recordings: Sequence[Recording], readings: Sequence[Reading]) -> None:
        self.readings, self.count, self.ended = readings, len(recordings), 0
        self.begin = time.monotonic()
        self.sizes = [_size(recording) for recording in recordings]
        self.suffixes = [recording.path.suffix.lower() for recording in recordings]
        self.kinds = {suffix: _Kind() for suffix in self.suffixes}
        for suffix, size in zip(self.suffixes, self.sizes, strict=True):
            self.kinds[suffix].waiting += size

    def __call__(self) -> Progress:
        """Seconds done, the total where it can be estimated, and a text."""
        while self.ended < len(self.readings) and self.readings[self.ended].ended:
            self._end(self.readings[self.ended])
        under_way = sum(reading.seconds for reading in self.readings[self.ended :])
        done = sum(kind.seconds for kind in self.kinds.values()) + under_way
        read = sum(kind.read for kind in self.kinds.values())
        words = f"{self.ended:,}/{self.count:,}, {done / 3600:.2f} h"
        speed = f", {done / max(time.monotonic() - self.begin, 1e-3):,.0f} s of sound a second"
        if self.ended == self.count or not read:
            return Progress(done, done if self.ended == self.count else None, words + speed)
        mean = sum(kind.seconds for kind in self.kinds.values()) / read
        rates = [(kind, kind.seconds / kind.read if kind.read else mean) for kind in self.kinds.values()]
        waiting = sum(kind.waiting * rate for kind, rate in rates)
        total = done + max(0.0, waiting - under_way)
        return Progress(done, total, f"{words} of about {total / 3600:.2f} h{speed}")

    def _end(self, reading: Reading) -> None:
        kind, size = self.kinds[self.suffixes[self.ended]], self.sizes[self.ended]
        kind.waiting -= size
        if reading.error is None:
            kind.read += size
            kind.seconds += reading.seconds
        self.ended += 1


def _size(recording: Recording) -> float:
    if isinstance(recording.stored, Stored):
        return float(recording.stored.corpus.samples[recording.stored.row])
    try:
        return recording.path.stat().st_size
    except OSError:
        return 0.0
