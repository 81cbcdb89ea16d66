"""Batches of an endless stream that is read by position, loaded by worker processes."""

import atexit
import copy
import multiprocessing
import signal
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from atst.cores import cores


class BatchPositions(Sampler[list[int]]):
    """Endless batches of positions for one device of several, from micro-batch `start` on."""

    def __init__(self, batch_size: int, start: int = 0, rank: int = 0, devices: int = 1) -> None:
        self.batch_size, self.start, self.rank, self.devices = batch_size, start, rank, devices

    def __iter__(self) -> Iterator[list[int]]:
        batch = self.start
        while True:
            first = (batch * self.devices + self.rank) * self.batch_size
            yield list(range(first, first + self.batch_size))
            batch += 1


def loader_of(
    dataset: Dataset[Any], positions: BatchPositions, workers: int, collate: Callable[[list[Any]], Any]
) -> DataLoader[dict[str, Any]]:
    """Collated batches of any stream that is read by position."""
    count = worker_count(workers, positions.devices)
    return DataLoader(
        dataset,
        batch_sampler=positions,
        num_workers=count,
        collate_fn=collate,
        worker_init_fn=start_worker,
        multiprocessing_context=_context() if count else None,
        pin_memory=torch.cuda.is_available(),
        prefetch_factor=4 if count else None,
    )


class LoaderProcess(multiprocessing.get_context().Process):  # type: ignore[misc]
    """A loader process that can be ended while it is stuck in a read: it does not answer SIGTERM."""

    def terminate(self) -> None:
        self.kill()


def _context() -> multiprocessing.context.BaseContext:
    context = copy.copy(multiprocessing.get_context())
    context.Process = LoaderProcess  # type: ignore[misc]
    return context


@atexit.register
def _end_loaders() -> None:
    """Python itself would wait for them at its end."""
    for process in multiprocessing.active_children():
        if isinstance(process, LoaderProcess):
            process.kill()


def worker_count(workers: int, processes: int = 1) -> int:
    """Loader processes for each training process: as asked, or for -1 its cores less one, 16 at most."""
    return workers if workers >= 0 else max(1, min(16, cores() // processes - 1))


def resources(precision: str, workers: int, processes: int) -> str:
    """In words, what each of the processes that train computes with."""
    threads, count = torch.get_num_threads(), worker_count(workers, processes)
    return (
        f"{precision}, {threads} thread{'s' * (threads != 1)} and {count} loader process{'es' * (count != 1)}"
        + " each" * (processes > 1)
    )


def start_worker(worker: int) -> None:
    """One thread, and no answer to signals, in a loader process."""
    torch.set_num_threads(1)
    for number in (signal.SIGINT, signal.SIGTERM):  # for the training process to handle, which ends this one
        signal.signal(number, signal.SIG_IGN)
