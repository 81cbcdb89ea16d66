"""What a labelled data set is to the rest of the library."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from atst.sound import isolated
from atst.sound.isolated import Request
from atst.sound.stretch import middle

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
    learning_rates: tuple[float, ...] | None = (
        None  # learning rates to sweep, for a batch of 256; None: the default
    )
    source: str = ""
    missing: tuple[str, ...] = ()  # clips that have labels but no file, left out
    warnings: tuple[str, ...] = ()  # what a result on the task should be read with
    drawn: int | None = None  # the seed that `splits` were drawn with; None: they are given
    division: str = ""  # how they were drawn, in words
    channel: int | None = None  # of files, from 0; None: the mean
    partial: bool = False  # whether files that were cut short are read as far as they go

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

    def heard(self, channel: int | None, partial: bool) -> "Task":
        """The same clips, of this channel of their files, and as far as these go."""
        return replace(self, channel=channel, partial=partial) if channel is not None or partial else self

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

    def reason(self, index: int, error: object) -> str:
        """Why clip `index` cannot be read, without its path."""
        return str(error) if self.folder is None else str(error).removeprefix(f"{self.path(index)}: ")

    def request(self, index: int, seconds: float | None = None) -> Request:
        """What a decoding process is asked for to `read` clip `index`, which is of a file."""
        start, end = self.segment(index) or (0.0, None)
        how = {"seconds": seconds, "channel": self.channel, "partial": self.partial}
        return Request("clip", str(self.path(index)), {"start": start, "end": end, **how})

    def read(
        self,
        index: int,
        seconds: float | None = None,
        remarks: list[str] | None = None,
        high: list[float] | None = None,
    ) -> NDArray[np.float32]:
        """Clip `index` as (N,) float32 at 16 kHz; of a longer one its middle `seconds`.

        Raises `AudioError` for a file that cannot be read. Of one that was cut short there is, if `partial`,
        what there is, and `remarks` say so; `high` gets the share of its energy above 8 kHz.
        """
        if self.folder is None:
            assert self.waveform is not None, "a task has files or makes its waveforms"
            return middle(self.waveform(index), seconds)
        return isolated.waveform(self.request(index, seconds), remarks, high)
