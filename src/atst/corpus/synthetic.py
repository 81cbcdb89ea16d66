"""Built-in sounds, labelled by construction: the offline default of the demo and of tests, never evidence.

Twelve instruments; a class is what a listener would call the same source. A clip is one of them playing
notes of random pitch (three octaves), loudness (24 dB) and length over noise of random colour, 10 to 25 dB
below, that changes throughout the clip, at a random level. Partials vary from clip to clip; there is no
reverberation. Some instruments share their long-term spectrum and differ in the course of a note (vibrato,
tremolo, decay, glide), so means and deviations of a spectrogram do not tell them all apart. Clip i depends on
(seed, i) alone; it is made when read.
"""

import functools
import math
from pathlib import Path

import numpy as np
import soundfile

from atst.corpus.clips import Corpus
from atst.output.atomic import new_file
from atst.sound.audio import SAMPLE_RATE

KINDS = (
    *("pure", "reed", "brass", "bell", "vibrato", "tremolo"),
    *("plucks", "swells", "glides up", "glides down", "dark voice", "bright voice"),
)
FORMANTS = {"dark voice": (450, 850), "bright voice": (350, 2500)}  # Hz
TABLE = 2048  # samples of one period, a power of two
PRETRAINING, TASK, FILES = 0, 1, 2  # streams of random numbers: no clip of one is in another


class SyntheticCorpus(Corpus):
    """`size` clips of `seconds`; clip i is of kind `i % 12`."""

    label_names = KINDS

    def __init__(self, size: int = 2000, seconds: float = 4.0, seed: int = 0) -> None:
        self.seconds = np.full(size, float(seconds))
        self.skipped: list[tuple[str, str]] = []
        self.cut: list[tuple[str, str]] = []
        self.seed = seed
        self._latest: tuple[int, np.ndarray] = (-1, np.zeros(0, np.float32))

    def name(self, index: int) -> str:
        """Seed, number and kind of the clip."""
        return f"synthetic {self.seed}/{index} ({KINDS[self.label(index)]})"

    def label(self, index: int) -> int:
        """The clip's kind, an index into `label_names`."""
        return index % len(KINDS)

    def waveform(self, index: int, start: float, duration: float, remarks: list[str]) -> np.ndarray:
        """As `Corpus.waveform`; both segments of a pair cost one synthesis."""
        if self._latest[0] != index:
            rng = np.random.default_rng([PRETRAINING, self.seed, index])
            self._latest = index, make_sound(self.label(index), float(self.seconds[index]), rng)
        first = round(start * SAMPLE_RATE)
        last = max(first + 1, round((start + duration) * SAMPLE_RATE))
        return self._latest[1][first:last].copy()


def write_sounds(folder: Path, each: int = 4, seconds: float = 4.0) -> Path:
    """Write `each` sounds of every kind, `bell 1.wav`; files that are there stay. Returns `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for kind, name in enumerate(KINDS):
        for number in range(1, each + 1):
            path = folder / f"{name} {number}.wav"
            if not path.exists():
                sound = make_sound(kind, seconds, np.random.default_rng([FILES, kind, number]))
                with new_file(path) as temporary:
                    soundfile.write(temporary, sound, SAMPLE_RATE, format="WAV")
    return folder


def make_sound(kind: int, seconds: float, rng: np.random.Generator) -> np.ndarray:
    """A sound of kind `KINDS[kind]` with a background, float32 (seconds * 16000,), peak at most 0.9."""
    size = max(1, round(seconds * SAMPLE_RATE))
    lengths = rng.uniform(0.2, 0.6, math.ceil(seconds / 0.2) + 1)  # s, of the notes
    ends = np.cumsum(lengths) - rng.uniform(0, 0.2)  # the first note may have begun before the clip
    time = np.arange(size, dtype=np.float32) / np.float32(SAMPLE_RATE)
    note = np.searchsorted(ends, time, side="right")
    since = time - (ends - lengths).astype(np.float32)[note]  # s, since the note began
    pitch = (110 * 2 ** rng.uniform(0, 3, len(ends)))[note]  # Hz
    loudness = (10 ** (rng.uniform(-24, 0, len(ends)) / 20)).astype(np.float32)[note]
    octaves, level = _course(KINDS[kind], since / lengths.astype(np.float32)[note], since, rng)
    tone = _tone(KINDS[kind], pitch * np.exp2(octaves), rng) * level * loudness
    sway = np.sin(time * np.float32(rng.uniform(1, 3)) + np.float32(rng.uniform(0, 6)))
    noise = _noise(size, rng) * (1 + sway) + _noise(size, rng) * (1 - sway)
    ratio = 10 ** (rng.uniform(10, 25) / 20)  # signal to noise, 10 to 25 dB
    sound = tone / (tone.std() + 1e-6) * ratio + noise / (noise.std() + 1e-6)
    gain = 10 ** (rng.uniform(-12, 0) / 20)
    return (sound * (0.9 * gain / np.abs(sound).max())).astype(np.float32)


def _course(
    kind: str, place: np.ndarray, seconds: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Within each note: how far its pitch is moved, in octaves, and its level, 0 to 1. Both (N,)."""
    still = np.zeros_like(place)
    even = np.minimum(np.minimum(place, 1 - place) * np.float32(rng.uniform(8, 30)), 1)
    wave = np.sin(seconds * np.float32(2 * math.pi * rng.uniform(6, 9)))  # some periods a note
    decay = np.float32(rng.uniform(3, 7))
    match kind:
        case "vibrato":
            return np.float32(rng.uniform(0.06, 0.12)) * wave, even
        case "tremolo":
            return still, even * (1 - np.float32(rng.uniform(0.6, 0.9)) * (np.float32(0.5) + wave / 2))
        case "plucks":
            return still, np.exp(-decay * place) * even
        case "swells":
            return still, np.exp(decay * (place - 1)) * even
        case "glides up" | "glides down":
            sign = 1 if kind == "glides up" else -1
            return np.float32(sign * rng.uniform(0.5, 1.0)) * (place - np.float32(0.5)), even
    return still, even


def _tone(kind: str, pitch: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A periodic sound (N,) whose frequency follows `pitch` (N,) Hz, with the instrument's spectrum."""
    cycles = np.cumsum(pitch / SAMPLE_RATE, dtype=np.float64)
    number = np.arange(1, 1 + max(2, min(30, int(7500 / pitch.max()))))
    slope = {"pure": 4.0, "brass": 0.3}.get(kind, 1.2) + rng.uniform(-0.1, 0.1)
    if kind in FORMANTS:
        slope = 0.3
    weights = number**-slope * 10 ** (rng.normal(0, 1, len(number)) / 20)
    if kind == "reed":
        weights[1::2] *= 0.03
    table = _table(weights, rng)
    tone = table[(cycles * TABLE).astype(np.int64) & (TABLE - 1)]
    if kind == "bell":  # two series that share no partials
        ratio = rng.choice([1.19, 1.41, 1.68]) * rng.uniform(0.98, 1.02)
        tone = tone + table[(cycles * (TABLE * ratio)).astype(np.int64) & (TABLE - 1)]
    return _resonate(tone, FORMANTS[kind]) if kind in FORMANTS else tone


def _resonate(tone: np.ndarray, formants: tuple[int, ...]) -> np.ndarray:
    """The sound (N,) through resonances that stay where they are when the pitch changes."""
    octave = _octaves(len(tone))
    places = np.log2(np.array(formants, np.float32) / 100 + 1)
    gain = np.float32(0.03) + sum(np.exp(-np.square((octave - place) * 4)) for place in places)
    return np.fft.irfft(np.fft.rfft(tone) * gain, len(tone)).astype(np.float32)


def _table(weights: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One period (TABLE,) with these harmonics in random phase."""
    spectrum = np.zeros(TABLE // 2 + 1, np.complex64)
    spectrum[1 : 1 + len(weights)] = weights * np.exp(2j * np.pi * rng.random(len(weights)))
    return np.fft.irfft(spectrum, TABLE).astype(np.float32)


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
