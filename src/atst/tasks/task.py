"""What a labelled data set is to the rest of the library."""

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from atst.errors import AudioError, UsageError
from atst.sound import isolated
from atst.sound.audio import middle
from atst.sound.messages import Request
from atst.sound.options import channel_number

SPLITS = ("train", "valid", "test")
CHUNK = 65536  # clips
Metric = Literal["accuracy", "mAP"]


@dataclass(frozen=True)
class Task:
    """Labelled clips, and which of them are for training, validation and testing.

    Exactly one of `splits` and `folds` is set. Each fold is the test set once. A clip is a file or a segment.
    """

    name: str
    names: list[str]  # of each clip, for messages and predictions; for files the path below `folder`
    labels: NDArray  # (n,) int64 class indices, or (n, C) uint8 multi-hot if multi-label
    label_names: list[str]
    splits: NDArray[np.str_] | None = None  # (n,) of "train", "valid", "test"
    folds: NDArray[np.int64] | None = None  # (n,)
    # With folds: (n,) whether a clip is tested when its fold is; if not, it only trains for the other folds.
    tested: NDArray[np.bool_] | None = None
    folder: Path | None = None  # what `names` are relative to; None if the clips are made on the fly
    segments: NDArray[np.float64] | None = None  # (n, 2) start and end in s, (0, inf) for a whole file
    groups: NDArray[np.int64] | None = None  # (n,) the recording of each clip, which stays in one split
    waveform: Callable[[int], NDArray[np.float32]] | None = None  # the clip made on the fly, 16 kHz mono
    learning_rates: Sequence[float] | None = None  # to sweep, for a batch of 256; None: the default
    source: str = ""
    missing: tuple[str, ...] = ()  # clips that have labels but no file, left out
    warnings: tuple[str, ...] = ()  # to be reported with every result
    drawn: int | None = None  # the seed that drew `splits`; None: they were given
    division: str = ""  # a sentence on how they were drawn
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
        """The metric of predictions."""
        return "mAP" if self.multi_label else "accuracy"

    @property
    def by(self) -> Literal["split", "fold"]:
        """What `parts` are."""
        return "split" if self.folds is None else "fold"

    @property
    def parts(self) -> NDArray:
        """The split, or the fold, of each clip (n,)."""
        parts = self.splits if self.folds is None else self.folds
        assert parts is not None, "a task has splits or folds"
        return parts

    @cached_property
    def first_labels(self) -> NDArray[np.int64]:
        """The class of each clip (n,); of several the first, C if there is none."""
        if not self.multi_label:
            return self.labels
        return np.where(self.labels.any(1), self.labels.argmax(1), self.labels.shape[1])

    def class_counts(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """The number of clips among `rows` that have each class: (C,)."""
        if not self.multi_label:
            return np.bincount(self.labels[rows], minlength=len(self.label_names))
        counts = np.zeros(len(self.label_names), dtype=np.int64)
        for start in range(0, len(rows), CHUNK):  # indexing copies, and all labels may be large
            counts += self.labels[rows[start : start + CHUNK]].sum(0, dtype=np.int64)
        return counts

    @property
    def about(self) -> str:
        """Its source, and how its splits were drawn if they were not given."""
        return f"{self.source} {self.division}".strip()

    def heard(self, channel: str | int | None, partial: bool) -> "Task":
        """The same clips, read from the channel of that option, and cut-short files as far as they go.

        Raises `UsageError` for a wrong channel, or one of clips that are not files.
        """
        number = channel_number(channel)
        if self.folder is None and number is not None:
            raise UsageError(f"--channel {number}: the clips of {self.name} have one channel.")
        return replace(self, channel=number, partial=partial)

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
        """The name of clip `index`, for messages."""
        segment = self.segment(index)
        return self.names[index] + ("" if segment is None else f" {segment[0]:g}-{segment[1]:g} s")

    def reason(self, index: int, error: object) -> str:
        """Why clip `index` cannot be read, without its path."""
        return str(error) if self.folder is None else str(error).removeprefix(f"{self.path(index)}: ")

    def request(self, index: int, seconds: float | None = None) -> Request:
        """What a decoding process is asked for to `read` clip `index`, which is of a file."""
        start, end = self.segment(index) or (0.0, None)
        how = {"seconds": seconds, "channel": self.channel, "partial": self.partial}
        return Request("clip", str(self.path(index)), {"start": start, "end": end, **how})

    def content(self, index: int, digests: dict[Path, str]) -> str:
        """A hash of clip `index`: of its file and segment, or of its samples if it has none.

        `digests` keeps those of files with several clips. Raises `AudioError` for an unreadable file.
        """
        if self.folder is None:
            assert self.waveform is not None, "a task has files or generates its waveforms"
            return hashlib.sha256(self.waveform(index).tobytes()).hexdigest()[:32]
        path, segment = self.path(index), self.segment(index)
        try:
            if (digest := digests.get(path)) is None:
                with path.open("rb") as stream:
                    digest = hashlib.file_digest(stream, "sha256").hexdigest()
        except OSError as error:
            raise AudioError(f"{path}: {error.strerror}") from error
        settings = "" if self.channel is None else f" channel {self.channel}"
        if segment is not None:
            digests[path] = digest
            settings += f" {segment[0]:.6f} {segment[1]:.6f}"
        return hashlib.sha256(f"{digest}{settings}".encode()).hexdigest()[:32] if settings else digest[:32]

    def read(
        self,
        index: int,
        seconds: float | None = None,
        remarks: list[str] | None = None,
        high: list[float] | None = None,
    ) -> NDArray[np.float32]:
        """Clip `index` as (N,) float32 at 16 kHz; of a longer one its middle `seconds`.

        Raises `AudioError` for an unreadable file. With `partial`, a file that was cut short is read as far
        as it goes, which is added to `remarks`; `high` gets the share of the energy above 8 kHz.
        """
        if self.folder is not None:
            request = self.request(index, seconds)
            return isolated.waveform(request, remarks, high)
        assert self.waveform is not None, "a task has files or generates its waveforms"
        return middle(self.waveform(index), seconds)
