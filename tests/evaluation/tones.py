"""A model without weights, and tasks of tones: what the evaluation sees of the rest of the library."""

from pathlib import Path

import numpy as np
import soundfile

from atst.tasks import Task


class SpectrumModel:
    """Embeds a clip by the log energy in 16 bands; counts the clips that it was given."""

    name = "spectrum"
    fingerprint = "spectrum-1"
    depth = 3

    def __init__(self) -> None:
        self.embedded = 0

    def embed(self, sound, *, sample_rate=None, layers=1, pooling="mean", batch_size=32):
        self.embedded += len(sound)
        return np.stack([self._vector(clip) for clip in sound])

    def save(self, folder):
        """There is nothing to write."""

    def _vector(self, clip):
        power = np.abs(np.fft.rfft(clip, 16000)) ** 2
        return np.log([band.sum() + 1e-6 for band in np.array_split(power, 16)]).astype(np.float32)


def tone(pitch: float, seed: int, seconds: float = 0.3) -> np.ndarray:
    """A tone in noise, float32 (N,) at 16 kHz."""
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * 16000)) / 16000
    return (0.3 * np.sin(2 * np.pi * pitch * time) + 0.05 * rng.standard_normal(len(time))).astype(np.float32)


def tone_task(n: int = 120, *, folds: int = 0, valid: bool = True, seed: int = 0, classes: int = 3) -> Task:
    """Which of `classes` pitch ranges a tone is in; half train, a quarter each (valid and) test, or folds."""
    labels = np.random.default_rng(seed).permutation(np.arange(n) % classes)
    parts = np.array([("train", "valid" if valid else "train", "train", "test")[i % 4] for i in range(n)])
    return Task(
        name="tones",
        names=[f"tone {i}" for i in range(n)],
        labels=labels,
        label_names=[f"pitch {i}" for i in range(classes)],
        splits=None if folds else parts,
        folds=np.arange(n) % folds + 1 if folds else None,
        waveform=lambda i: tone(400 + 1500 * labels[i], seed=i),
    )


def tone_files(folder: Path, n: int = 40, column: str = "split") -> Path:
    """A meta.csv in `folder` with n wav files of two pitches."""
    rows = [f"path,label,{column},remark"]
    for i in range(n):
        soundfile.write(folder / f"{i}.wav", tone(400 + 2000 * (i % 2), seed=i), 16000)
        part = ("train", "train", "valid", "test")[i // 2 % 4] if column == "split" else i // 2 % 4
        rows.append(f"{i}.wav,{'low' if i % 2 == 0 else 'high'},{part},-")
    (folder / "meta.csv").write_text("\n".join(rows) + "\n")
    return folder / "meta.csv"
