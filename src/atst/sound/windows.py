"""Recordings of any length as stretches that fit memory, read one after the other."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from atst.errors import AudioError
from atst.sound import audio
from atst.sound.audio import SAMPLE_RATE
from atst.sound.clips import WINDOW_SECONDS

SHORTEST_TAIL = 0.01  # s: less than this behind the last whole window is a rounded header, not sound


@dataclass
class Window:
    """A stretch of a recording, and the sound it is judged by."""

    path: Path
    start: float  # s from the recording's start
    end: float
    waveform: NDArray[np.float32]  # (N,) at 16 kHz; the stretch, or its middle


@dataclass
class Fault:
    """Why a recording could not be read, or not to its end."""

    reason: str
    after: float  # s that were read before it


def read_all(
    files: Iterable[Path], read: Callable[[Path], Iterator[Window]], faults: dict[Path, Fault]
) -> Iterator[Window]:
    """The windows of all recordings in order; what cannot be read goes to `faults`."""
    for path in files:
        end = 0.0
        try:
            for window in read(path):
                yield window
                end = window.end
        except AudioError as error:
            faults[path] = Fault(str(error), end)


def batches(windows: Iterable[Window], size: int) -> Iterator[list[Window]]:
    """The windows in lists of `size`; the last may be shorter."""
    windows = iter(windows)
    while batch := list(islice(windows, size)):
        yield batch


def minutes(path: Path, keep: float | None = None) -> Iterator[Window]:
    """Consecutive windows of 60 s and the rest; with `keep` only the middle so many seconds of each are read.

    Raises `AudioError` for a recording that cannot be read.
    """
    seconds = audio.info(path).seconds
    if seconds <= WINDOW_SECONDS and (keep is None or seconds <= keep):
        waveform = audio.read(path)
        yield Window(path, 0.0, len(waveform) / SAMPLE_RATE, waveform)
        return
    for number in range(max(1, math.ceil((seconds - SHORTEST_TAIL) / WINDOW_SECONDS))):
        start = number * WINDOW_SECONDS
        length = min(WINDOW_SECONDS, seconds - start)
        if keep is not None and length > keep:
            waveform = audio.read(path, start=start + (length - keep) / 2, duration=keep)
            yield Window(path, start, start + length, waveform)
        else:
            waveform = audio.read(path, start, WINDOW_SECONDS)
            yield Window(path, start, start + len(waveform) / SAMPLE_RATE, waveform)


def sliding(path: Path, window: float, hop: float) -> Iterator[Window]:
    """Windows of `window` seconds every `hop` seconds until one reaches the end; the last may be shorter.

    Reads a minute, or one window, at a time; `hop` is at most `window`. Raises `AudioError` for a
    recording that cannot be read.
    """
    seconds = audio.info(path).seconds
    count = 1 + max(0, math.ceil((seconds - window - SHORTEST_TAIL) / hop))
    together = 1 + max(0, math.floor((WINDOW_SECONDS - window) / hop))
    for first in range(0, count, together):
        starts = [number * hop for number in range(first, min(first + together, count))]
        block = audio.read(path, starts[0], starts[-1] - starts[0] + window)
        for start in starts:
            at = round((start - starts[0]) * SAMPLE_RATE)
            waveform = block[at : at + round(window * SAMPLE_RATE)]
            if len(waveform):
                yield Window(path, start, start + len(waveform) / SAMPLE_RATE, waveform)


def listed(headline: str, faults: Mapping[Path, Fault], partly: bool = True) -> str:
    """The headline and a line for each fault; `partly`: what was read before it was used."""
    lines = [
        f"{fault.reason} (what comes before {fault.after:g} s is there)"
        if partly and fault.after
        else fault.reason
        for fault in faults.values()
    ]
    return "\n  ".join([headline, *lines])
