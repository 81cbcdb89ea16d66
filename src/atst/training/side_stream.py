"""On a GPU, what the next step needs is computed while the last one still runs."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cache

import torch
from torch import Tensor


@contextmanager
def beside(device: torch.device, given: Iterable[Tensor]) -> Iterator[Callable[..., tuple[Tensor, ...]]]:
    """Compute within the block, from `given`, on a stream of its own.

    It waits for the main stream only if any of `given` is on the device already, where something else (DDP)
    has brought it. What goes on to the main stream has to pass through the function that the block gets. The
    host is ahead of the GPU, so the block's work overlaps with what the main stream still has to do.
    Elsewhere than on CUDA nothing is different.
    """
    if device.type != "cuda":
        yield lambda *tensors: tensors
        return
    main, side = torch.cuda.current_stream(device), _side(device)

    def kept(*tensors: Tensor) -> tuple[Tensor, ...]:
        for tensor in tensors:
            tensor.record_stream(main)  # not to be reused by the side stream before the main one is done
        return tensors

    if any(tensor.is_cuda for tensor in given):
        side.wait_stream(main)
    with torch.cuda.stream(side):
        yield kept
    main.wait_stream(side)


@cache
def _side(device: torch.device) -> torch.cuda.Stream:
    stream = torch.cuda.Stream(device)
    stream.wait_stream(torch.cuda.current_stream(device))  # what is on the device already
    return stream
