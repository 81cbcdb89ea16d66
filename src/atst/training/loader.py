"""Batches of an endless stream that is read by position, loaded by worker processes."""

import atexit
import copy
import multiprocessing
import multiprocessing.util
import os
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from atst.cores import cores
from atst.errors import TrainingError
from atst.training import signals
from atst.training.launch import started

LONGEST_SOCKET = 107  # bytes of the path of an AF_UNIX socket on Linux
SOCKET = "/pymp-12345678/listener-12345678"  # what multiprocessing adds to the folder for temporary files

Lost = Callable[[str], None]


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

    def after(self, batches: int) -> "BatchPositions":
        """The same stream, so many batches later."""
        return BatchPositions(self.batch_size, self.start + batches, self.rank, self.devices)


def give_up(why: str) -> None:
    """The default for a lost loader process: raises `TrainingError`."""
    raise TrainingError(why)


class Batches:
    """Collated batches of any stream that is read by position; -1 `workers`: as many as the cores allow.

    When a loader process is killed, or the folder of its sockets removed, `lost` is called with the reason
    and this process continues loading, so that the training can be saved at the end of its step.
    """

    def __init__(
        self,
        dataset: Dataset[Any],
        positions: BatchPositions,
        workers: int,
        collate: Callable[[list[Any]], Any],
        lost: Lost = give_up,
    ) -> None:
        self.dataset, self.positions, self.collate, self.lost = dataset, positions, collate, lost
        self.workers = worker_count(workers, positions.devices)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        done = 0
        if self.workers:
            folder = socket_folder()
            with _no_interruption_by_workers():
                batches = iter(self._loader(self.positions, self.workers))
            try:
                for batch in batches:
                    yield batch
                    done += 1
            except (RuntimeError, OSError) as error:
                self.lost(_why(error, folder))
                _end_loaders()  # the others would complain about missing sockets
            del batches  # this ends the other loader processes
        yield from self._loader(self.positions.after(done), 0)

    def _loader(self, positions: BatchPositions, workers: int) -> DataLoader[dict[str, Any]]:
        return DataLoader(
            self.dataset,
            batch_sampler=positions,
            num_workers=workers,
            collate_fn=self.collate,
            worker_init_fn=start_worker,
            multiprocessing_context=_context() if workers else None,
            pin_memory=torch.cuda.is_available(),
            prefetch_factor=4 if workers else None,
        )


class LoaderProcess(multiprocessing.get_context().Process):  # type: ignore[misc]
    """A loader process that can be ended while it is stuck in a read, when it does not react to SIGTERM."""

    def terminate(self) -> None:
        self.kill()


def _context() -> multiprocessing.context.BaseContext:
    context = copy.copy(multiprocessing.get_context())
    context.Process = LoaderProcess  # type: ignore[misc]
    return context


@atexit.register
def _end_loaders() -> None:
    """Kill loader processes at exit; Python itself would wait for them."""
    for process in multiprocessing.active_children():
        if isinstance(process, LoaderProcess):
            process.kill()


def worker_count(workers: int, processes: int = 1) -> int:
    """Loader processes for each training process: as asked, or for -1 its cores less one, 16 at most."""
    start = started()
    # each of srun's tasks has its own cores
    shared = 1 if start is not None and start.by == "srun" else processes
    return workers if workers >= 0 else max(1, min(16, cores() // shared - 1))


def resources(precision: str, workers: int, processes: int) -> str:
    """A description of what each training process computes with."""
    threads, count = torch.get_num_threads(), worker_count(workers, processes)
    return (
        f"{precision}, {threads} thread{'s' * (threads != 1)} and {count} loader process{'es' * (count != 1)}"
        + " each" * (processes > 1)
    )


def start_worker(worker: int) -> None:
    """Set up a loader process: one thread, signals ignored."""
    torch.set_num_threads(1)
    signals.ignore()


def socket_folder() -> Path:
    """The folder for the sockets of loader processes; the path of TMPDIR may be too long for sockets.

    Raises `TrainingError` if there is none: without its socket a loader process would hang.
    """
    before = tempfile.tempdir
    for folder in (tempfile.gettempdir(), "/tmp", "/dev/shm"):
        if len(os.fsencode(folder + SOCKET)) <= LONGEST_SOCKET and os.access(folder, os.W_OK | os.X_OK):
            tempfile.tempdir = folder
            break
    try:
        made = Path(multiprocessing.util.get_temp_dir())  # once in a process; loader processes inherit it
    finally:
        tempfile.tempdir = before
    if len(os.fsencode(made)) + len("/listener-12345678") > LONGEST_SOCKET:
        raise TrainingError(
            f"{made}: too long for sockets; set TMPDIR to a shorter path, or use --workers 0."
        )
    if not made.is_dir():
        raise TrainingError(
            f"{made}: removed while this process was using it; keep TMPDIR until the process ends."
        )
    return made


@contextmanager
def _no_interruption_by_workers() -> Iterator[None]:
    """Remove PyTorch's handler that raises an error in the middle of a step when a loader process dies.

    Waiting for the next batch detects it too, within seconds and between steps.
    """
    before = signal.getsignal(signal.SIGCHLD)
    yield
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGCHLD, before or signal.SIG_DFL)


def _why(error: Exception, folder: Path) -> str:
    """Why a loader process was lost. Raises the error again if it is of another kind."""
    if not folder.is_dir():
        folder.mkdir(parents=True)  # Python removes it at its end and complains if it cannot
        return f"{folder}: removed while loader processes were using it; keep TMPDIR until the run ends."
    if isinstance(error, RuntimeError) and str(error).startswith("DataLoader worker (pid"):
        return (
            "a loader process was killed, perhaps for lack of memory: ask for more (--mem under SLURM) "
            "or use fewer --workers."
        )
    raise error
