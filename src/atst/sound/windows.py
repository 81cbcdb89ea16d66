"""Recordings of any length as windows that fit memory, to their real end: the one rule for all who need it.

A window is 60 s and follows the one before; the last is shorter, and left out if it has less than 10 ms.
"""

import functools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from atst.cores import release_memory
from atst.errors import AudioError, UsageError
from atst.output.skipped import PARTLY, Skipped
from atst.sound.audio import SAMPLE_RATE, middle
from atst.sound.messages import Request
from atst.sound.pool import Pool
from atst.sound.recording import Recording

WINDOW_SECONDS = 60.0
SHORTEST_HOP = 0.01  # s
BATCH_SECONDS = 60.0  # of sound in a batch: enough passes of any encoder to keep a core busy
MANY = 10  # parts of a recording
SHORTEST_TAIL = 0.01  # s: less than this behind the last whole window is padding, not sound
FEWEST = round(SHORTEST_TAIL * SAMPLE_RATE)  # samples

Waveform = NDArray[np.float32]
Cut = tuple[float, float, Waveform]  # start and end in s, and the sound that the stretch is judged by


def check_windows(window: float | None, hop: float | None) -> None:
    """Raises `UsageError` for `--window` and `--hop` that cannot be cut."""
    if window is not None and not 0 < window <= WINDOW_SECONDS:
        raise UsageError(
            f"--window must be more than 0 and at most {WINDOW_SECONDS:g} seconds, not {window:g}."
        )
    if hop is not None and window is None:
        raise UsageError("--hop needs --window: it is the step from one window to the next.")
    if hop is not None and window is not None:
        check_hop(hop, window)


def check_hop(hop: float, window: float) -> None:
    """Raises `UsageError` for a step between windows that is too short, or longer than a window."""
    if not SHORTEST_HOP <= hop <= window:
        raise UsageError(
            f"--hop must be {SHORTEST_HOP:g} s or more and at most the window ({window:g} s), not {hop:g}."
        )


def split(waveform: Waveform) -> Iterator[Waveform]:
    """A waveform at 16 kHz in consecutive windows."""
    step = round(WINDOW_SECONDS * SAMPLE_RATE)
    for at in range(0, len(waveform), step):
        yield np.ascontiguousarray(waveform[at : at + step], dtype=np.float32)


def without_tail(blocks: Iterable[Waveform]) -> Iterator[Waveform]:
    """The blocks, but a last one that is too short to be sound."""
    for number, block in enumerate(blocks):
        if number == 0 or len(block) >= FEWEST:
            yield block


def minutes(blocks: Iterable[Waveform], keep: float | None = None) -> Iterator[Cut]:
    """Each window of 60 s, judged by all of it or by its middle `keep` seconds."""
    start = 0
    for block in without_tail(blocks):
        yield start / SAMPLE_RATE, (start + len(block)) / SAMPLE_RATE, middle(block, keep)
        start += len(block)


def sliding(blocks: Iterable[Waveform], window: float, hop: float) -> Iterator[Cut]:
    """Windows of `window` seconds every `hop` seconds until one reaches the end; the last may be shorter.

    `blocks` are consecutive, of any lengths; `hop` is at most `window`.
    """
    size, number = round(window * SAMPLE_RATE), 0
    held, first = np.zeros(0, np.float32), 0  # samples that are still needed, and the place of the first

    def cut() -> Cut:
        at = round(number * hop * SAMPLE_RATE)
        part = held[at - first :][:size]
        return number * hop, number * hop + len(part) / SAMPLE_RATE, part.copy()

    for block in blocks:
        held = np.concatenate([held, block])
        # A window is cut when more than a tail follows: only then another one will come.
        while first + len(held) >= round(number * hop * SAMPLE_RATE) + size + FEWEST:
            yield cut()
            number += 1
        done = round(number * hop * SAMPLE_RATE) - first
        held, first = held[done:], first + done
    if len(held):
        yield cut()


def cutter(window: float | None, hop: float | None, keep: float | None = None) -> "Cutter":
    """Cuts windows of `window` seconds every `hop` seconds; without `window`, as `minutes` does."""
    if window is None:
        return functools.partial(minutes, keep=keep)
    return functools.partial(sliding, window=window, hop=hop or window)


@dataclass(eq=False)
class Reading:
    """A recording on its way, and what became of it."""

    recording: Recording
    error: str | None = None  # why it could not be read, or not to its end
    remarks: list[str] = field(default_factory=list)  # what is missing of it
    seconds: float = 0.0  # of it that were read
    high: float = 0.0  # share of its energy above 8 kHz
    ended: bool = False
    partial: bool = False  # it was cut short and is read as far as it goes


@dataclass
class Window:
    """A stretch of a recording, and the sound it is judged by."""

    reading: Reading
    start: float  # s from the file's start
    end: float
    waveform: Waveform  # (N,) at 16 kHz; the stretch, or its middle


Cutter = Callable[[Iterable[Waveform]], Iterator[Cut]]  # consecutive blocks of sound to windows


def read_all(
    pool: Pool, recordings: Sequence[Recording], cut: Cutter, readings: list[Reading], **how: Any
) -> Iterator[Window]:
    """The windows of all recordings in order; `readings` gets an entry for each, filled when it ends.

    `how` goes to `audio.stream`: `channel` and `partial`.
    """
    requests = (request("stretch", recording, how) for recording in recordings)
    for (_, replies), recording in zip(pool.each(requests), recordings, strict=True):
        reading = Reading(recording)
        readings.append(reading)

        def blocks(replies: Iterator[Any] = replies, reading: Reading = reading) -> Iterator[Waveform]:
            for reply in replies:
                reading.remarks, reading.high = reply.remarks, reply.high
                reading.partial = bool(reply.remarks) and bool(how.get("partial"))
                reading.seconds += len(reply.waveform) / SAMPLE_RATE
                yield reply.waveform

        try:
            for start, end, waveform in cut(blocks()):
                yield Window(reading, recording.start + start, recording.start + end, waveform)
        except AudioError as error:
            reading.error = str(error).removeprefix(f"{recording.name}: ")
        reading.ended = True


def request(what: str, recording: Recording, how: Mapping[str, Any]) -> Request:
    """What is asked of a decoding process for a recording window by window: `stretch`, or `pack`."""
    stretch = {"seconds": WINDOW_SECONDS, "start": recording.start, "end": recording.end}
    return Request(what, str(recording.path), {**stretch, "where": recording.where, **how}, recording.stored)


class OfReading(Protocol):
    """Anything that comes from one recording."""

    @property
    def reading(self) -> Reading: ...


Part = TypeVar("Part", bound=OfReading)


def batches(windows: Iterable[Window], size: int) -> Iterator[list[Window]]:
    """The windows in lists of `size`, fewer where they are long; the last may be shorter."""
    batch: list[Window] = []
    for window in windows:
        batch.append(window)
        is_long = sum(len(held.waveform) for held in batch) >= BATCH_SECONDS * SAMPLE_RATE
        if len(batch) >= size or is_long:
            yield batch
            if is_long and len(batch) == 1:
                release_memory()  # what windows of an hour's recording leave adds up
            batch = []
    if batch:
        yield batch


def whole(parts: Iterable[Part]) -> Iterator[Part]:
    """The parts of the recordings that were read to their end; those of others are dropped.

    That is known when a recording has ended: until then its parts are kept.
    """
    for reading, group in groupby(parts, key=lambda part: part.reading):
        kept = deque(group)
        if len(kept) >= MANY:
            release_memory()  # writing takes some again
        while kept and reading.error is None:
            yield kept.popleft()


def unreadable(readings: Iterable[Reading]) -> list[Skipped]:
    """Path and reason of what was not read, or partly."""
    found: list[Skipped] = []
    for reading in readings:
        path = reading.recording.name
        if reading.error is not None:
            found.append((path, reading.error))
        elif reading.remarks:
            found.append((path, PARTLY + "; ".join(reading.remarks)))
    return found
