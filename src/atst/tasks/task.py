"""What a labelled data set is to the rest of the library."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from atst.sound import audio
from atst.sound.audio import SAMPLE_RATE

SPLITS = ("train", "valid", "test")
CHUNK = 65536  # clips
Metric = Literal["accuracy", "mAP"]


@dataclass(frozen=True)
class Task:
    """Clips with labels, and which of them train, choose and test a classifier.

    Exactly one of `splits` and `folds` is set. With folds each one is the test part once. Several clips may
    be segments of one file.
    """

    name: str
    names: list[str]  # of each clip, for messages and predictions; of a file its path below `folder`
    labels: NDArray  # (n,) int64 class indices, or (n, C) uint8 multi-hot if multi-label
    label_names: list[str]
    splits: NDArray[np.str_] | None = None  # (n,) of "train", "valid", "test"
    folds: NDArray[np.int64] | None = None  # (n,)
    folder: Path | None = None  # what `names` are relative to; None if the clips are made on the fly
    segments: NDArray[np.float64] | None = None  # (n, 2) start and end in s, (0, inf) for a whole file
    groups: NDArray[np.int64] | None = None  # (n,) the recording of each; what is drawn or held out is whole
    waveform: Callable[[int], NDArray[np.float32]] | None = None  # the clip made on the fly, 16 kHz mono
    rates: tuple[float, ...] | None = None  # learning rates to sweep, for a batch of 256; None: the default
    source: str = ""
    missing: tuple[str, ...] = ()  # clips that have labels but no file, left out
    warnings: tuple[str, ...] = ()  # what a result on the task should be read with
    drawn: int | None = None  # the seed that `splits` were drawn with; None: they are given
    division: str = ""  # how they were drawn, in words

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def multi_label(self) -> bool:
        """Whether a clip can have several labels."""
        return self.labels.ndim == 2

    @property
    def metric(self) -> Metric:
        """How predictions are measured."""
        return "mAP" if self.multi_label else "accuracy"

    def class_counts(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """How many of the clips `rows` have each class: (C,)."""
        if not self.multi_label:
            return np.bincount(self.labels[rows], minlength=len(self.label_names))
        counts = np.zeros(len(self.label_names), dtype=np.int64)
        for start in range(0, len(rows), CHUNK):  # a copy of all labels may be large
            counts += self.labels[rows[start : start + CHUNK]].sum(0, dtype=np.int64)
        return counts

    @property
    def about(self) -> str:
        """Where it comes from, and how it was divided if that is not given."""
        return f"{self.source} {self.division}".strip()

    def path(self, index: int) -> Path:
        """The file of clip `index`."""
        assert self.folder is not None, "the clips are files"
        return self.folder / self.names[index]

    def segment(self, index: int) -> tuple[float, float] | None:
        """Start and end of clip `index` in seconds; None if it is a whole file."""
        if self.segments is None or math.isinf(self.segments[index, 1]):
            return None
        start, end = self.segments[index].tolist()
        return start, end

    def title(self, index: int) -> str:
        """What names clip `index`, for messages."""
        own = self.segment(index)
        return self.names[index] if own is None else f"{self.names[index]} {own[0]:g}-{own[1]:g} s"

    def read(self, index: int, seconds: float | None = None) -> NDArray[np.float32]:
        """Clip `index` as (N,) float32 at 16 kHz; of a longer one its middle `seconds`.

        Raises `AudioError` for a file that cannot be read.
        """
        if self.folder is None:
            assert self.waveform is not None, "a task has files or makes its waveforms"
            return centre(self.waveform(index), seconds)
        path, own = self.path(index), self.segment(index)
        start = own[0] if own else 0.0
        if own is None and seconds is None:
            return audio.read(path)
        length = own[1] - start if own else audio.info(path).seconds
        if seconds is not None and length > seconds:
            return audio.read(path, start + (length - seconds) / 2, seconds)
        return audio.read(path, start, length if own else None)


def centre(waveform: NDArray[np.float32], seconds: float | None) -> NDArray[np.float32]:
    """The middle `seconds` of a 16 kHz waveform, all of it if it is not longer."""
    keep = len(waveform) if seconds is None else round(seconds * SAMPLE_RATE)
    start = max(0, (len(waveform) - keep) // 2)
    return waveform[start : start + keep]
