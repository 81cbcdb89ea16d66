"""A task's clips as log-mels, kept in memory as far as they fit."""

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from atst.errors import AudioError
from atst.model.frontend import N_MELS, FrontEnd
from atst.output.progress import track
from atst.sound import isolated
from atst.sound.audio import CLIP_SECONDS
from atst.tasks import Task
from atst.tasks.reading import read_clips
from atst.training.launch import is_first_process

MEMORY = 2e9  # bytes of log-mels to keep: 21 hours of sound


class Clips:
    """Log-mels (64, T) of the middle 12 s of clips, by their index.

    What `keep` has read is served from one block of memory, of which loader processes need no copy; the rest
    is read when it is asked for.
    """

    def __init__(self, task: Task, memory: float = MEMORY) -> None:
        self.task = task
        self.memory = memory
        self.frontend = FrontEnd()
        self.unreadable: dict[int, str] = {}  # why
        self.partial: dict[int, str] = {}  # what is missing of clips that were read
        self.block = torch.zeros(0)
        self.places: dict[int, tuple[int, int]] = {}  # clip to (first value in the block, frames)

    def __getitem__(self, index: int) -> Tensor:
        """Raises `AudioError` for a clip that cannot be read."""
        if index in self.places:
            first, frames = self.places[index]
            return self.block[first : first + N_MELS * frames].view(N_MELS, frames)
        remarks: list[str] = []
        waveform = self.task.read(index, CLIP_SECONDS, remarks)
        return self._logmel(index, waveform, remarks)

    def keep(self, rows: Iterable[int]) -> None:
        """Read these clips into memory until it is full; of the rest look at the headers.

        What cannot be read goes to `unreadable`.
        """
        values: list[Tensor] = []
        size = 0
        rest = iter(track(list(rows), f"reading {self.task.name}") if is_first_process() else rows)

        def fitting() -> Iterator[int]:
            while 4 * size < self.memory and (index := next(rest, None)) is not None:
                yield index

        for clip in read_clips(self.task, fitting(), CLIP_SECONDS):
            if clip.error:
                self.unreadable[clip.index] = clip.error
                continue
            logmel = self._logmel(clip.index, clip.waveform, clip.remarks)
            self.places[clip.index] = (size, logmel.shape[-1])
            values.append(logmel.flatten())
            size += logmel.numel()
        for index in rest if self.task.folder is not None else ():
            try:
                isolated.info(self.task.path(index))
            except AudioError as error:
                self.unreadable[index] = str(error)
        self.block = torch.cat(values) if values else self.block

    def _logmel(self, index: int, waveform: NDArray[np.float32], remarks: list[str]) -> Tensor:
        if remarks:
            self.partial[index] = "; ".join(remarks)
        return self.frontend(torch.from_numpy(waveform)[None])[0]

    def readable(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Those of `rows` that are not known to be unreadable."""
        return np.array([row for row in rows.tolist() if row not in self.unreadable], dtype=np.int64)
