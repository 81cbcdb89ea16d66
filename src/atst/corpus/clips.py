"""What all corpora have in common: clips by index, read a stretch at a time."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from atst.errors import AudioError
from atst.output.skipped import Skipped
from atst.sound.duration import too_long
from atst.sound.levels import SILENCE

Progress = Callable[[Iterable[float | str], str, int], Iterable[float | str]]  # such as `progress.track`


class Corpus(ABC):
    """Clips of sound. Cheap to pickle and to share with worker processes."""

    seconds: np.ndarray  # float64, one entry a clip
    skipped: list[Skipped]  # files left out: path, reason
    cut: list[Skipped]  # stretches that a manifest ends beyond their file: name, where they end

    def __len__(self) -> int:
        return len(self.seconds)

    @abstractmethod
    def name(self, index: int) -> str:
        """The name of clip `index` in lists: its file, and where it starts if not at 0."""

    @abstractmethod
    def waveform(self, index: int, start: float, duration: float, remarks: list[str]) -> np.ndarray:
        """As `read`, of a stretch that is known to be in the clip, silent or not."""

    def read(
        self, index: int, start: float = 0.0, duration: float | None = None, remarks: list[str] | None = None
    ) -> np.ndarray:
        """Float32 (N,) at 16 kHz: `duration` s (None: the rest) of clip `index` from its second `start` on.

        Cut at the clip's end; of a file that was cut short there is what there is, and `remarks` says so.
        Raises `AudioError`: unreadable, non-finite, silent (peak below -80 dBFS).
        """
        rest = float(self.seconds[index]) - start
        if not (start >= 0 and rest > 0):
            raise AudioError(
                f"{self.name(index)}: start {start:g} s is outside its {self.seconds[index]:g} s"
            )
        stretch = rest if duration is None else min(rest, duration)
        waveform = self.waveform(index, start, stretch, [] if remarks is None else remarks)
        if max(waveform.max(), -waveform.min()) < SILENCE:
            raise AudioError(
                f"{self.name(index)}: silent (peak below -80 dBFS) in {len(waveform) / 16000:.2f} s "
                f"from {start:g} s"
            )
        return waveform


def cut_clips(
    lengths: np.ndarray, clip_seconds: float, min_seconds: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """File index (int64), start and length (float64, s) of every clip of files this long."""
    whole = np.floor(lengths / clip_seconds).astype(np.int64)
    count = whole + (lengths - whole * clip_seconds >= min_seconds)
    file = np.repeat(np.arange(len(lengths)), count)
    piece = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    start = piece * clip_seconds
    return file, start, np.minimum(lengths[file] - start, clip_seconds)


def fitting(
    seconds: np.ndarray, least: float, most: float | None, path: Callable[[int], str], of: Any = True
) -> tuple[np.ndarray, list[Skipped]]:
    """Which files (n,) are long enough and not too long; of those in the mask `of`, which not, and why.

    A length that is not known, NaN, does not fit and is not listed.
    """
    short, long = seconds < least, seconds > (np.inf if most is None else most)
    skipped = [
        (path(file), f"{seconds[file]:.2f} s is shorter than min_seconds {least:g}")
        for file in np.flatnonzero(of & short).tolist()
    ]
    skipped += [
        (path(file), str(too_long(seconds[file], most))) for file in np.flatnonzero(of & long).tolist()
    ]
    return (seconds >= least) & ~long, skipped


def clip_name(path: str, start: float) -> str:
    """A clip's file, and where it starts if not at 0."""
    return path + (f" from {start:g} s" if start else "")
