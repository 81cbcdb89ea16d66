"""Many clips of a task, read in order; those of files are decoded ahead by several processes."""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain, islice

import numpy as np
from numpy.typing import NDArray

from atst.errors import AudioError
from atst.sound.isolated import Request
from atst.sound.pool import Pool
from atst.tasks.task import Task

FEW = 64  # clips that are read before it pays to start further processes


@dataclass
class Clip:
    """Clip `index` of a task, or why it cannot be read."""

    index: int
    waveform: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))  # (N,) at 16 kHz
    remarks: list[str] = field(default_factory=list)  # what is missing of it
    high: float = 0.0  # share of its energy above 8 kHz
    error: str = ""  # why it cannot be read


def read_clips(task: Task, indices: Iterable[int], seconds: float | None = None) -> Iterator[Clip]:
    """These clips as `Task.read` reads them, which see.

    Of the indices a bounded number is taken ahead of the clips, so that memory is bounded too.
    """
    indices = iter(indices)
    for index in indices if task.folder is None else islice(indices, FEW):
        yield _read(task, index, seconds)
    if (first := next(indices, None)) is not None:
        yield from _decoded(task, chain([first], indices), seconds)


def _read(task: Task, index: int, seconds: float | None) -> Clip:
    clip, high = Clip(index), [0.0]
    try:
        clip.waveform = task.read(index, seconds, clip.remarks, high)
    except AudioError as error:
        clip.error = str(error)
    clip.high = high[-1]
    return clip


def _decoded(task: Task, indices: Iterable[int], seconds: float | None) -> Iterator[Clip]:
    asked: deque[int] = deque()

    def requests() -> Iterator[Request]:
        for index in indices:
            asked.append(index)
            yield task.request(index, seconds)

    with Pool() as pool:
        for _, replies in pool.each(requests()):
            clip = Clip(asked.popleft())
            try:
                for reply in replies:
                    clip.waveform, clip.remarks, clip.high = reply.waveform, reply.remarks, reply.high
            except AudioError as error:
                clip.error = str(error)
            yield clip
