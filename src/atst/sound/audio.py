"""A file, or a stretch of it, becomes a float32 16 kHz mono waveform; or an error says why not.

Where the decoder can begin in the middle, a stretch costs its own length to read, not the file's; a little
context around it makes the result equal to the same span of the whole file after resampling.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Unpack

import numpy as np
import soxr

from atst.errors import AudioError
from atst.sound.decoders import RATES, opened
from atst.sound.duration import refuse_longer
from atst.sound.source import How, Pathlike, Source, mono_float

SAMPLE_RATE = 16000
CLIP_SECONDS = 12.0  # of longer labelled clips the `middle` is used, as the paper's evaluation does
# s read on both sides of a stretch: settles resampling filters and lossy decoders after a seek
CONTEXT = 0.25
LOUDEST = 1e15  # of a sample: the power spectrum of more is not finite in float32
INTEGERS = (np.int16, np.int32, np.uint8)  # arrays of others have no known full scale


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
    with opened(path) as source:
        seconds = max(0.0, source.length()[0])
        return AudioInfo(seconds, source.rate, source.channels, source.format, source.codec)


def read(path: Pathlike, start: float = 0.0, duration: float | None = None, **how: Unpack[How]) -> np.ndarray:
    """A file, or `duration` seconds of it from `start` on, as float32 (N,) at 16 kHz.

    A stretch equals the same span of the whole file's waveform; one that goes beyond the end is cut there. A
    file that is 16 kHz mono already comes back as stored. Raises `AudioError`, naming the file: missing, not
    audio, no samples, no such channel, truncated, damaged, non-finite samples, `start` not before the end.
    """
    with opened(path, **how) as source:
        parts = list(_stretch(source, start, duration, at_once=duration is not None))
        return parts[0] if len(parts) == 1 else np.concatenate(parts)


def stream(
    path: Pathlike, seconds: float, start: float = 0.0, duration: float | None = None, **how: Unpack[How]
) -> Iterator[np.ndarray]:
    """Consecutive windows of `seconds`, float32 (n,) at 16 kHz, of a file or a stretch; the last is shorter.

    One forward pass, linear in time whatever the format; put together they equal what `read` gives. The other
    arguments and errors are those of `read`; an error comes at the point where it is found. What is longer
    than `max_duration` seconds, or claims to be, is an error too.
    """
    if not (math.isfinite(seconds) and seconds > 0):
        raise AudioError(f"{path}: windows must be longer than 0 s, not {seconds}")
    length = max(1, round(seconds * SAMPLE_RATE))
    with opened(path, **how) as source:
        most, count = how.get("max_duration"), 0
        if most is not None:
            refuse_longer(source.path, source.claimed() - start if duration is None else duration, most)
        rest = np.zeros(0, np.float32)
        for part in _stretch(source, start, duration):
            count += len(part)
            refuse_longer(source.path, count / SAMPLE_RATE, most, claimed=False)
            rest = np.concatenate([rest, part]) if len(rest) else part
            whole = len(rest) // length * length
            for begin in range(0, whole, length):
                yield rest[begin : begin + length]
            rest = rest[whole:]
        if len(rest):
            yield rest


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
    return np.concatenate(list(_resampled(iter([mono]), int(sample_rate))))


def middle(waveform: np.ndarray, seconds: float | None) -> np.ndarray:
    """The middle `seconds` of a waveform at 16 kHz, all of it if it is not longer."""
    keep = len(waveform) if seconds is None else round(seconds * SAMPLE_RATE)
    start = max(0, round((len(waveform) - keep) / 2))
    return waveform[start : start + keep]


def _stretch(
    source: Source, start: float, duration: float | None, at_once: bool = False
) -> Iterator[np.ndarray]:
    """The stretch of the source at 16 kHz, part by part.

    Some seconds are resampled faster `at_once`, minutes part by part; the samples are the same.
    """
    first, last = _samples(source.path, start, duration)
    ratio = Fraction(source.rate, SAMPLE_RATE)
    # The input must begin where an input and an output sample coincide, or the output grid would shift.
    unit = ratio.numerator
    margin = math.ceil(CONTEXT * source.rate)
    begin = max(0, (math.floor(first * ratio) - margin) // unit * unit)
    count = None if last is None else math.ceil(last * ratio) + margin - begin
    at = int(begin / ratio)  # the position at 16 kHz
    blocks = source.blocks(begin, count)
    if (levels := source.how.get("levels")) is not None:
        resampled = levels.kept_of(_resampled(levels.of(blocks, source.rate), source.rate), SAMPLE_RATE)
    else:
        resampled = _at_once(blocks, source.rate) if at_once else _resampled(blocks, source.rate)
    empty = True
    for part in resampled:
        piece = part[max(0, first - at) : len(part) if last is None else max(0, last - at)]
        if not np.isfinite(piece).all():
            raise AudioError(f"{source.path}: non-finite samples (NaN or infinity)")
        if len(piece) and max(piece.max(), -piece.min()) > LOUDEST:
            raise AudioError(f"{source.path}: samples beyond {LOUDEST:g}, where full scale is 1")
        yield piece
        at += len(part)
        empty = empty and not len(piece)
    if empty:
        end = source.end / source.rate
        what = f"start {start:g} s is beyond its end, {end:g} s" if end else "no samples"
        raise AudioError(f"{source.path}: {what}")


def _samples(path: str, start: float, duration: float | None) -> tuple[int, int | None]:
    """The first sample of a stretch and that after the last one, at 16 kHz."""
    if not (math.isfinite(start) and start >= 0):
        raise AudioError(f"{path}: start must be 0 s or later, not {start}")
    if duration is not None and not (math.isfinite(duration) and duration > 0):
        raise AudioError(f"{path}: duration must be more than 0 s, not {duration}")
    first = round(start * SAMPLE_RATE)
    return first, None if duration is None else max(first + 1, round((start + duration) * SAMPLE_RATE))


def _at_once(blocks: Iterator[np.ndarray], rate: int) -> Iterator[np.ndarray]:
    mono = np.concatenate([np.zeros(0, np.float32), *blocks])
    yield soxr.resample(mono, rate, SAMPLE_RATE, quality="HQ") if rate != SAMPLE_RATE and len(mono) else mono


def _resampled(blocks: Iterator[np.ndarray], rate: int) -> Iterator[np.ndarray]:
    if rate == SAMPLE_RATE:
        yield from map(np.ascontiguousarray, blocks)
        return
    resampler = soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="float32", quality="HQ")
    for block in blocks:
        yield resampler.resample_chunk(np.ascontiguousarray(block))
    yield resampler.resample_chunk(np.zeros(0, np.float32), last=True)
