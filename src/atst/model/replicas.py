"""Batches of clips embedded side by side: on several GPUs, or by one thread for each core of a CPU."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from atst.errors import UsageError
from atst.model.audio_model import AudioModel
from atst.model.embedder import Embedder

MOST = 8  # threads of a CPU that have a batch of their own


@contextmanager
def spread(model: Embedder, devices: int = 1) -> Iterator[list[Embedder]]:
    """For `cores.in_parallel`: copies of a model on `devices` GPUs, or the same for the threads of a CPU.

    Until the end PyTorch's threads are divided among those on the CPU: one that works alone waits for no
    other, neither at the end of every operation nor where a decoding process has taken its core. Raises
    `UsageError` where there are fewer GPUs.
    """
    where = model.frontend.window.device.type if isinstance(model, AudioModel) else None
    if devices > 1:
        yield _on_gpus(model, devices, where)
        return
    threads = torch.get_num_threads()
    count = min(threads, MOST) if where == "cpu" else 1
    torch.set_num_threads(threads // count)
    try:
        yield [model] * count
    finally:
        torch.set_num_threads(threads)


def _on_gpus(model: Embedder, count: int, where: str | None) -> list[Embedder]:
    if where != "cuda":
        raise UsageError(f"--devices {count}: only GPUs share the work; on a CPU one process uses all cores.")
    there = torch.cuda.device_count()
    if count > there:
        raise UsageError(f"--devices {count}: this machine has {there}.")
    assert isinstance(model, AudioModel)
    return [copy.deepcopy(model).to(f"cuda:{number}") for number in range(count)]
