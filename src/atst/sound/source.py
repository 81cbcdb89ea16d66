"""What all decoders have in common: an open file that gives mono samples from a position to its real end."""

import os
from collections.abc import Iterator, Sequence
from typing import TypedDict

import numpy as np

from atst.errors import AudioError
from atst.sound.levels import Levels

BLOCK = 1 << 20  # values decoded at a time
SHORT = 0.1  # s that may be missing at the end: lengths of lossy files are often rounded up

Pathlike = str | os.PathLike[str]


class How(TypedDict, total=False):
    """How a file is read."""

    channel: int | None  # the one to take, from 0; None: their mean
    partial: bool  # a recording that was cut short is read as far as it goes, a damaged frame is silence
    remarks: list[str]  # what is wrong with it is appended
    levels: Levels  # measures how loud it is
    max_duration: float | None  # s; a longer stretch is refused by `audio.stream`


class Source:
    """An open file, to be read once, from any position on; another stretch needs another one.

    `begin` is counted in samples that the decoder gives, never in time stamps. What is wrong with the file is
    given to `fault`, which raises unless the caller takes what there is.
    """

    path: str
    rate: int  # Hz
    channels: int
    format: str  # the container's name
    codec: str
    exact: bool  # whether `blocks` can begin in the middle; if not, it decodes from the start
    end: int = 0  # samples up to here have been decoded

    def __init__(self, path: str) -> None:
        self.path = path
        self.hear({})

    def hear(self, how: How) -> None:
        """Set how it is read."""
        self.how = how
        self.channel, self.partial = how.get("channel"), how.get("partial", False)
        self.remarks: list[str] = how.get("remarks", [])

    def close(self) -> None:
        """Close the file."""
        raise NotImplementedError

    def length(self) -> tuple[float, str]:
        """Seconds, as well as they can be told without decoding, and what tells them."""
        raise NotImplementedError

    def claimed(self) -> float:
        """Seconds that the header claims, where that is more than the file can hold too."""
        return self.length()[0]

    def blocks(self, begin: int, count: int | None = None) -> Iterator[np.ndarray]:
        """Float32 (n,), not resampled: `count` samples (None: all) from `begin` on, or those there are."""
        raise NotImplementedError

    def fault(self, what: str) -> None:
        """Take note of damage where the caller wants what there is, else raise `AudioError`."""
        if not self.partial:
            raise AudioError(f"{self.path}: {what}")
        self.remarks.append(what)

    def mono(self, samples: np.ndarray) -> np.ndarray:
        """(N, C) of any sample format as float32 (N,): the selected channel, or the mean."""
        return mono_float(samples if self.channel is None else samples[:, self.channel : self.channel + 1])


def damage(what: str, seconds: Sequence[float], count: int) -> str:
    """What to say of damaged frames or pages at these times, among so many."""
    if len(seconds) == 1:
        return f"1 of {count} {what} is damaged, at {seconds[0]:.2f} s"
    return f"{len(seconds)} of {count} {what} are damaged, the first at {seconds[0]:.2f} s"


def mono_float(samples: np.ndarray) -> np.ndarray:
    """(N, C) of any sample format as float32 (N,), channels averaged."""
    if samples.dtype == np.uint8:
        samples = (samples.astype(np.float32) - 128) / 128
    elif np.issubdtype(samples.dtype, np.signedinteger):
        samples = (samples / -float(np.iinfo(samples.dtype).min)).astype(np.float32)
    with np.errstate(over="ignore", invalid="ignore"):  # non-finite results are reported as such
        samples = samples.astype(np.float32, copy=False)
        return samples[:, 0] if samples.shape[1] == 1 else samples.mean(axis=1)
