"""A file, or a stretch of it, becomes a float32 16 kHz mono waveform; or an error says why not.

A stretch costs its own length to read, not the file's: decoders seek, and a little context around it makes
the result equal to the same span of the whole file after resampling.
"""

import math
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import soxr

from atst.errors import AudioError
from atst.sound.decoders import RATES, Pathlike, Source, mono_float, open_source

SAMPLE_RATE = 16000
CONTEXT = (
    0.25  # s read on both sides of a stretch: settles resampling filters and lossy decoders after a seek
)
INTEGERS = (np.int16, np.int32, np.uint8)  # arrays of others have no known full scale
TOLERANCE = 0.1  # s that may be missing at the end: lengths of lossy files are often rounded up


@dataclass(frozen=True)
class AudioInfo:
    """What a file's header says."""

    seconds: float  # an estimate: for progress bars, never a limit
    sample_rate: int  # Hz
    channels: int
    format: str  # the container's name
    codec: str


def info(path: Pathlike) -> AudioInfo:
    """Length, rate and channels of an audio file, without decoding it. Raises `AudioError`."""
    with closing(open_source(path)) as source:
        seconds = max(0.0, source.frames / source.rate)
        return AudioInfo(seconds, source.rate, source.channels, source.format, source.codec)


def read(
    path: Pathlike,
    start: float = 0.0,
    duration: float | None = None,
    *,
    channel: int | None = None,
    partial: bool = False,
    remarks: list[str] | None = None,
) -> np.ndarray:
    """A file, or `duration` seconds of it from `start` on, as float32 (N,) at 16 kHz.

    Channels are averaged, or the one numbered `channel` (from 0) is taken. A stretch equals the same span of
    the whole file's waveform; one that goes beyond the end is cut there. A file that is 16 kHz mono already
    comes back as stored. With `partial` a recording that was cut short is read as far as it goes, and what
    happened is appended to `remarks`. Raises `AudioError`, naming the file: missing, not audio, no samples,
    no such channel, truncated, non-finite samples, `start` not before the end.
    """
    if not (math.isfinite(start) and start >= 0):
        raise AudioError(f"{path}: start must be 0 s or later, not {start}")
    if duration is not None and not (math.isfinite(duration) and duration > 0):
        raise AudioError(f"{path}: duration must be more than 0 s, not {duration}")
    with closing(open_source(path, channel)) as source:
        if start > 0 and start >= source.frames / source.rate:
            raise AudioError(
                f"{path}: start {start:g} s is beyond its end, {source.frames / source.rate:g} s"
            )
        first = round(start * SAMPLE_RATE)
        last = None if duration is None else max(first + 1, round((start + duration) * SAMPLE_RATE))
        waveform = _stretch(source, first, last, remarks if partial else None, partial)
    if not len(waveform):
        raise AudioError(f"{path}: no samples" + (f" after {start:g} s" if start else ""))
    if not np.isfinite(waveform).all():
        raise AudioError(f"{path}: non-finite samples (NaN or infinity)")
    return waveform


def stream(
    path: Pathlike,
    seconds: float,
    *,
    channel: int | None = None,
    partial: bool = False,
    remarks: list[str] | None = None,
) -> Iterator[np.ndarray]:
    """Consecutive windows of `seconds`, float32 (n,) at 16 kHz, to the end of the file; the last is shorter.

    One forward pass, linear in time whatever the format; put together they equal `read(path)`. The other
    arguments and errors are those of `read`; an error comes at the point where it is found.
    """
    waveform = read(path, channel=channel, partial=partial, remarks=remarks)
    step = max(1, round(seconds * SAMPLE_RATE))
    for begin in range(0, len(waveform), step):
        yield waveform[begin : begin + step]


def to_mono_16k(samples: np.ndarray, sample_rate: int) -> np.ndarray:
    """Samples (N,) or (N, channels) at `sample_rate` Hz as float32 (M,) at 16 kHz.

    Floats are taken as they are, int16, int32 and uint8 scaled to [-1, 1). Raises `AudioError` when empty,
    non-finite, of another type or shape, or of a rate that is not 4 to 768 kHz.
    """
    samples = np.asarray(samples)
    if samples.ndim not in (1, 2) or not samples.size:
        raise AudioError(f"waveform of shape {samples.shape}: expected (N,) or (N, channels), not empty")
    if not (np.issubdtype(samples.dtype, np.floating) or samples.dtype in INTEGERS):
        raise AudioError(
            f"samples of type {samples.dtype} have no known scale: pass floats from -1 to 1, int16, int32 or "
            "uint8 (16-bit samples that were added up: x / 32768)"
        )
    if isinstance(sample_rate, bool | str | bytes) or not hasattr(sample_rate, "__int__"):
        raise AudioError(f"sample rate must be a number of Hz, not {sample_rate!r}")
    if sample_rate not in RATES:
        raise AudioError(f"sample rate {sample_rate} Hz is not a whole number from {RATES[0]} to {RATES[-1]}")
    mono = mono_float(samples.reshape(len(samples), -1))
    if not np.isfinite(mono).all():
        raise AudioError("waveform has non-finite samples (NaN or infinity)")
    return _resample(mono, int(sample_rate))


def _stretch(
    source: Source, first: int, last: int | None, remarks: list[str] | None, partial: bool
) -> np.ndarray:
    """Samples `first` to `last` (None: the end), counted at 16 kHz, of the resampled source."""
    ratio = Fraction(source.rate, SAMPLE_RATE)
    # The input must begin where an input and an output sample coincide, or the output grid would shift.
    unit = ratio.numerator
    margin = math.ceil(CONTEXT * source.rate)
    begin = max(0, (math.floor(first * ratio) - margin) // unit * unit)
    end = None if last is None else math.ceil(last * ratio) + margin
    available = source.frames - begin if end is None else min(end, source.frames) - begin
    mono = _collect(source.blocks(begin, None if end is None else end - begin))
    to_the_end = end is None or end >= source.frames
    if len(mono) < available - TOLERANCE * source.rate or (to_the_end and source.is_cut()):
        there = (begin + len(mono)) / source.rate
        remark = f"truncated, its samples end at {there:.2f} s"
        if not partial:
            raise AudioError(f"{source.path}: {remark}")
        if remarks is not None:
            remarks.append(remark)
    offset = int(begin / ratio)
    return _resample(mono, source.rate)[first - offset : None if last is None else last - offset]


def _collect(blocks: Iterator[np.ndarray]) -> np.ndarray:
    parts = list(blocks)
    return np.concatenate(parts) if parts else np.zeros(0, np.float32)


def _resample(mono: np.ndarray, rate: int) -> np.ndarray:
    if rate == SAMPLE_RATE or not len(mono):
        return np.ascontiguousarray(mono)
    return soxr.resample(mono, rate, SAMPLE_RATE, quality="HQ")
