"""Many clips of a task, read in order; files are decoded ahead by several processes."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain, islice

import numpy as np
from numpy.typing import NDArray

from atst.errors import AudioError
from atst.sound import isolated
from atst.sound.audio import middle
from atst.sound.messages import Reply, Request
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
    """These clips; of longer ones the middle `seconds`.

    Only a bounded number of indices is taken ahead of the clips, so memory is bounded too.
    """
    if task.folder is None:
        assert task.waveform is not None, "a task has files or generates its waveforms"
        yield from (_clip(index, _made(task.waveform, index, seconds)) for index in indices)
        return
    asked: deque[int] = deque()

    def asking() -> Iterator[Request]:
        for index in indices:
            asked.append(index)
            yield task.request(index, seconds)

    requests = asking()
    for request in islice(requests, FEW):
        yield _clip(asked.popleft(), isolated.ask(request))
    if (first := next(requests, None)) is not None:
        with Pool() as pool:
            for _, replies in pool.each(chain([first], requests)):
                yield _clip(asked.popleft(), replies)


def _made(
    waveform: Callable[[int], NDArray[np.float32]], index: int, seconds: float | None
) -> Iterator[Reply]:
    yield Reply(middle(waveform(index), seconds), None, [], 0.0)


def _clip(index: int, replies: Iterable[Reply]) -> Clip:
    clip = Clip(index)
    try:
        for reply in replies:
            clip.waveform, clip.remarks, clip.high = reply.waveform, reply.remarks, reply.high
    except AudioError as error:
        clip.error = str(error)
    return clip
