"""How many cores this process may use, threads that share them, and what else saves a process time.

Nothing here imports PyTorch before it is needed: the wait policy counts only if it is set before that.
"""

import ctypes
import gc
import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from queue import SimpleQueue
from typing import TypeVar

Model = TypeVar("Model")
Batch = TypeVar("Batch")
Result = TypeVar("Result")


def cores() -> int:
    """Cores that this process may use: by affinity, by its container's quota, by SLURM's share of a task."""
    import joblib  # which knows the first two on every system

    count: int = joblib.cpu_count()
    task = os.environ.get("SLURM_CPUS_PER_TASK", "")
    return min(count, max(1, int(task))) if task.isdigit() else count


def limit_threads() -> int:
    """Let PyTorch compute with no more threads than cores; how many it has then.

    PyTorch itself knows the affinity alone. Fewer threads, if somebody has set them, stay as they are.
    """
    import torch

    threads = min(torch.get_num_threads(), cores())
    if threads != torch.get_num_threads():
        torch.set_num_threads(threads)
    return threads


def in_parallel(
    models: list[Model], work: Callable[[Model, Batch], Result], batches: Iterable[Batch]
) -> Iterator[Result]:
    """`work` of each batch by whichever model is free, in the order of the batches, a few of them ahead."""
    if len(models) == 1:
        yield from (work(models[0], batch) for batch in batches)
        return
    free: SimpleQueue[Model] = SimpleQueue()
    for model in models:
        free.put(model)

    def done(batch: Batch) -> Result:
        model = free.get()
        try:
            return work(model, batch)
        finally:
            free.put(model)

    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(len(models)) as threads:
        for batch in batches:
            waiting.append(threads.submit(done, batch))
            if len(waiting) > len(models):
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def wait_passively() -> None:
    """Let threads sleep while they wait for each other, unless the user has chosen a way.

    By default OpenMP's threads wait in a loop. As soon as another process, such as a worker that loads audio,
    needs a core, they then burn the time that the last of them would need (`benchmarks/shared_machine.py`).
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


@contextmanager
def importing() -> Iterator[None]:
    """Import modules without a search for garbage among what they define: PyTorch's take a third less time.

    If there were new ones, what is there at the end is not searched later either.
    """
    before = len(sys.modules)
    gc.disable()
    try:
        yield
    finally:
        if len(sys.modules) > before:
            gc.freeze()
        gc.enable()


def release_memory() -> None:
    """Give back to the system what was freed: among large blocks that come and go, ever more is kept."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # of glibc alone
    if trim is not None:
        trim(0)
