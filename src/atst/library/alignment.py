"""Whether two stretches of sound are one recording: correlation of their log-mels at the best alignment."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import fft

from atst.model.frontend import FRAMES_PER_SECOND, HOP, FrontEnd
from atst.sound.audio import SAMPLE_RATE

RANGE_DB = 50.0  # under a band's own loudest: what codecs keep
SMOOTH = 7  # frames; slower changes are alike in all takes of a sound
EDGE = 3  # frames at both ends that know what lies beyond a cut, or its padding
PHASES = 4  # alignments tried within a frame, where it is looked at closely
OVERLAP = 0.7  # share of the shorter stretch that must lie on the other one
FEWEST = 8  # frames

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Print:
    """What is compared: fast changes of the log-mel spectrogram, by phase of the frames."""

    phases: NDArray[np.float16]  # (PHASES or 1, 64, T)
    heard: NDArray[np.bool_]  # (64,) bands with sound


class Printer:
    """Makes the prints of waveforms at 16 kHz."""

    def __init__(self) -> None:
        self.frontend = FrontEnd()

    @torch.no_grad()
    def __call__(self, waveform: NDArray[np.float32], closely: bool = False) -> Print:
        """`closely`: with all phases."""
        padded = np.pad(waveform, (0, HOP))
        starts = [phase * HOP // PHASES for phase in range(PHASES if closely else 1)]
        shifts = np.stack([padded[start : start + len(waveform)] for start in starts])
        power = self.frontend.mel_power(torch.from_numpy(shifts)).double().numpy()  # (PHASES, 64, T)
        decibel = 10 * np.log10(power + 1e-10)
        top = decibel.max()
        decibel = np.maximum(decibel, top - RANGE_DB)
        loud = np.sort(decibel[0], axis=1)[:, -FEWEST:].min(axis=1)  # a few frames will do
        heard = loud > top - RANGE_DB
        fast = (decibel - _smoothed(decibel))[..., EDGE:-EDGE]
        return Print(fast.astype(np.float16), heard)


@dataclass(frozen=True)
class Match:
    """The best alignment of two stretches."""

    correlation: float  # -1 to 1
    offset: float  # s: where the second one starts on the first one


def match(one: Print, other: Print) -> Match:
    """The best alignment of two prints; a correlation of 0 where there is nothing to compare."""
    bands = one.heard & other.heard
    first = one.phases[0, bands].astype(np.float32)  # (B, T)
    best = Match(0.0, 0.0)
    frames = min(first.shape[1], other.phases.shape[2])
    least = max(FEWEST, int(np.ceil(OVERLAP * frames)))
    if not bands.any() or frames < least:
        return best
    for phase, second in enumerate(other.phases):
        values = _correlations(first, second[bands].astype(np.float32), least)
        at = int(np.argmax(values))
        if values[at] > best.correlation:
            shift = at - (other.phases.shape[2] - 1)  # frames
            best = Match(float(values[at]), shift / FRAMES_PER_SECOND - phase * HOP / PHASES / SAMPLE_RATE)
    return best


def _correlations(one: Floats, other: Floats, least: int) -> Floats:
    """The correlation of (B, T) and (B, S) for each shift of the second one from -(S - 1) to T - 1 frames."""
    length, short = one.shape[1], other.shape[1]
    size = length + short - 1
    fast = fft.next_fast_len(size, real=True)
    spectra = fft.rfft(one, fast) * fft.rfft(other[:, ::-1], fast)
    products = fft.irfft(spectra.sum(0), fast)[:size]
    shifts = np.arange(size) - (short - 1)
    begin, end = np.maximum(shifts, 0), np.minimum(shifts + short, length)
    energy = _energies(one, begin, end) * _energies(other, begin - shifts, end - shifts)
    values = products / np.sqrt(np.maximum(energy, 1e-9))
    return np.where((end - begin >= least) & (energy > 1e-6), values, 0.0)


def _energies(values: Floats, begin: NDArray[np.int64], end: NDArray[np.int64]) -> Floats:
    sums = np.concatenate([[0.0], np.cumsum((values.astype(float) ** 2).sum(0))])
    return sums[end] - sums[begin]


def _smoothed(values: Floats) -> Floats:
    """The moving mean over SMOOTH frames of the last axis."""
    half = SMOOTH // 2
    padded = np.pad(values, [(0, 0)] * (values.ndim - 1) + [(half + 1, half)], mode="edge")
    sums = np.cumsum(padded, axis=-1)
    return (sums[..., SMOOTH:] - sums[..., :-SMOOTH]) / SMOOTH
