"""Built-in sounds, labelled by construction: the offline default of the demo and of tests, never evidence.

Twelve kinds. Most come in pairs that share their long-term spectrum and differ in the pattern over time
only (sweeps up or down, notes rising or falling, plucks or their mirror image, groups of three or of four):
means and deviations of a spectrogram tell few of them apart. Pitch, spectral envelope, tempo, depth,
loudness, onset and background vary at random. Clip i depends on (seed, i) alone, and is made when read.
"""

import functools
import math
from dataclasses import dataclass

import numpy as np

from atst.audio import SAMPLE_RATE
from atst.errors import AudioError

KINDS = (
    *("reed", "bell", "vibrato", "trill", "plucks", "swells"),
    *("sweeps up", "sweeps down", "rising notes", "falling notes", "threes", "fours"),
)
TABLE = 2048  # samples of one period, a power of two
PRETRAINING, TASK = 0, 1  # streams of random numbers: labelled clips are never those pre-trained on


class SyntheticCorpus:
    """`size` clips of `seconds`, a `Corpus`; clip i is of kind `i % 12`."""

    label_names = KINDS

    def __init__(self, size: int = 2000, seconds: float = 4.0, seed: int = 0) -> None:
        self.seconds = np.full(size, float(seconds))
        self.skipped: list[tuple[str, str]] = []
        self.seed = seed
        self._latest: tuple[int, np.ndarray] = (-1, np.zeros(0, np.float32))

    def __len__(self) -> int:
        return len(self.seconds)

    def name(self, index: int) -> str:
        """Seed, number and kind of the clip."""
        return f"synthetic {self.seed}/{index} ({KINDS[self.label(index)]})"

    def label(self, index: int) -> int:
        """The clip's kind, an index into `label_names`."""
        return index % len(KINDS)

    def read(self, index: int, start: float = 0.0, duration: float | None = None) -> np.ndarray:
        """As `Corpus.read`; both segments of a pair cost one synthesis."""
        if not 0 <= start < self.seconds[index]:
            raise AudioError(
                f"{self.name(index)}: start {start:g} s is outside its {self.seconds[index]:g} s"
            )
        if self._latest[0] != index:
            rng = np.random.default_rng([PRETRAINING, self.seed, index])
            self._latest = index, make_sound(self.label(index), float(self.seconds[index]), rng)
        first = round(start * SAMPLE_RATE)
        last = None if duration is None else max(first + 1, round((start + duration) * SAMPLE_RATE))
        return self._latest[1][first:last].copy()


@dataclass(frozen=True)
class SyntheticTask:
    """Labelled clips for a probe."""

    waveforms: np.ndarray  # (N, samples) float32, 16 kHz
    labels: np.ndarray  # (N,) int64
    splits: np.ndarray  # (N,) of "train", "valid", "test"
    label_names: tuple[str, ...] = KINDS


def synthetic_task(
    train: int = 600, valid: int = 240, test: int = 360, seconds: float = 4.0, seed: int = 0
) -> SyntheticTask:
    """So many clips a split, kinds equally frequent, from other random numbers than any `SyntheticCorpus`."""
    total = train + valid + test
    labels = np.arange(total) % len(KINDS)
    waveforms = [
        make_sound(int(labels[i]), seconds, np.random.default_rng([TASK, seed, i])) for i in range(total)
    ]
    splits = np.repeat(["train", "valid", "test"], [train, valid, test])
    return SyntheticTask(np.stack(waveforms), labels, splits)


def make_sound(kind: int, seconds: float, rng: np.random.Generator) -> np.ndarray:
    """A sound of kind `KINDS[kind]` with a background, float32 (seconds * 16000,), peak at most 0.9."""
    size = max(1, round(seconds * SAMPLE_RATE))
    tempo = rng.uniform(4, 7) if KINDS[kind] in ("vibrato", "trill") else rng.uniform(2.0, 4.5)
    beats = np.arange(size, dtype=np.float32) * np.float32(tempo / SAMPLE_RATE) + np.float32(
        rng.uniform(0, 12)
    )
    octaves, level = _pattern(KINDS[kind], beats, rng)
    pitch = 110 * 2 ** rng.uniform(0, 3)  # Hz
    tone = _tone(KINDS[kind], pitch, octaves, rng) * level * _presence(size, rng)
    noise = _noise(size, rng)
    ratio = 10 ** (rng.uniform(5, 25) / 20)  # signal to noise, 5 to 25 dB
    sound = tone / (tone.std() + 1e-6) * ratio + noise / (noise.std() + 1e-6)
    gain = 10 ** (rng.uniform(-24, 0) / 20)
    return (sound * (0.9 * gain / np.abs(sound).max())).astype(np.float32)


def _pattern(kind: str, beats: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Over time: how far the pitch is moved, in octaves, and the loudness, 0 to 1. Both (N,)."""
    phase = beats - np.floor(beats)  # a remainder by % is several times slower
    still = np.zeros_like(beats)
    decay = np.float32(rng.uniform(2, 6))
    # Where loudness does not tell the kind, it rises and falls with the beat by a random amount.
    even = 1 - np.float32(rng.uniform(0, 0.9)) * np.abs(2 * phase - 1)
    match kind:
        case "vibrato":
            return np.float32(rng.uniform(0.04, 0.15)) * np.sin(2 * np.pi * phase), still + 1
        case "trill":
            return np.float32(rng.uniform(0.08, 0.25)) * (phase < 0.5), still + 1
        case "plucks":
            return still, np.exp(-decay * phase)
        case "swells":
            return still, np.exp(decay * (phase - 1))
        case "sweeps up" | "sweeps down":
            sign = 1 if kind == "sweeps up" else -1
            return np.float32(sign * rng.uniform(0.5, 1.5)) * (phase - 0.5), even
        case "rising notes" | "falling notes":
            step = np.floor(beats) % 4
            step = step if kind == "rising notes" else 3 - step
            return np.float32(rng.uniform(0.15, 0.4)) * (step - 1.5), even
        case "threes" | "fours":
            group = 3 if kind == "threes" else 4
            gap = group * rng.uniform(0.35, 0.65)  # silent beats after the group
            period = np.float32(group + gap)
            place = beats * np.float32(1.6) / period
            place = (place - np.floor(place)) * period
            return still, np.exp(-decay * (place - np.floor(place))) * (place < group)
    return still, even  # reed, bell: known by their spectrum


def _tone(kind: str, pitch: float, octaves: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A periodic sound (N,) of `pitch` Hz, moved by `octaves`, with a random spectral envelope."""
    cycles = np.cumsum(pitch / SAMPLE_RATE * np.exp2(octaves), dtype=np.float64)
    number = np.arange(1, 1 + max(2, min(40, int(7500 / (pitch * 2.8)))))
    weights = number ** -rng.uniform(0.3, 1.8) * 10 ** (rng.normal(0, 4, len(number)) / 20)
    if kind == "reed":
        weights[1::2] *= 0.03
    table = _table(weights, rng)
    tone = table[(cycles * TABLE).astype(np.int64) & (TABLE - 1)]
    if kind == "bell":  # two series that share no partials
        ratio = rng.choice([1.19, 1.41, 1.68]) * rng.uniform(0.98, 1.02)
        tone = tone + table[(cycles * (TABLE * ratio)).astype(np.int64) & (TABLE - 1)]
    return tone


def _table(weights: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One period (TABLE,) with these harmonics in random phase."""
    spectrum = np.zeros(TABLE // 2 + 1, np.complex64)
    spectrum[1 : 1 + len(weights)] = weights * np.exp(2j * np.pi * rng.random(len(weights)))
    return np.fft.irfft(spectrum, TABLE).astype(np.float32)


def _presence(size: int, rng: np.random.Generator) -> np.ndarray:
    """The sound starts and ends softly somewhere near the clip's ends (N,)."""
    begin, end = rng.uniform(0, 0.15), rng.uniform(0.85, 1)
    time = np.linspace(0, 1, size, dtype=np.float32)
    return np.clip((time - begin) / 0.02, 0, 1) * np.clip((end - time) / 0.02, 0, 1)


def _noise(size: int, rng: np.random.Generator) -> np.ndarray:
    """A background (N,): noise of random colour with one broad peak."""
    octave = _octaves(size)
    slope, peak, place = (
        rng.uniform(-1, 6),
        rng.uniform(0, 15),
        rng.uniform(1, 6),
    )  # dB an octave, dB, octaves
    level = (
        np.float32(peak) * np.exp(-np.square(octave - np.float32(place))) - np.float32(slope) * octave
    )  # dB
    draws = rng.standard_normal((len(octave), 2), np.float32).view(np.complex64)[:, 0]
    return np.fft.irfft(draws * np.exp(level * np.float32(math.log(10) / 20)), size)


@functools.lru_cache(maxsize=4)
def _octaves(size: int) -> np.ndarray:
    """Frequency of each bin of a transform of this size, in octaves above 100 Hz; compressed below."""
    bins = np.arange(size // 2 + 1, dtype=np.float32)
    return np.log2(bins * np.float32(SAMPLE_RATE / size / 100) + 1)
