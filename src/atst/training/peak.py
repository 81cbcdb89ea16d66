"""What the machine can do: the rate of its matrix products, and whether others use it too."""

import os
import time

import torch

from atst.model.matmul import fast_products
from atst.training.precision import DTYPES, finish

SIDES = (256, 512, 1024, 2048, 4096, 8192)
LONG_ENOUGH = 0.003  # s for one product: larger matrices are not faster then
LEAST, MOST = 4, 40  # products of a size
A_SIZE = 0.02  # s for those of a size


def matmul_peak(precision: str, device: torch.device) -> float:
    """Floating-point operations a second of products of square matrices, the best of several sizes.

    Takes a tenth of a second; 0 where the device has no such type.
    """
    best = 0.0
    try:
        for side in SIDES:
            left, right = torch.ones(2, side, side, dtype=DTYPES[precision], device=device)
            times: list[float] = []
            while len(times) < LEAST or (sum(times) < A_SIZE and len(times) < MOST):
                times.append(_seconds(left, right, device))
            taken = min(times)
            best = max(best, 2.0 * side**3 / taken)
            if taken > LONG_ENOUGH:
                break
    except (RuntimeError, TypeError):
        pass
    return best


def overload(processes: int) -> str:
    """A remark if more wants to run than the machine has cores and `processes`, those of this run."""
    try:
        load = os.getloadavg()[0]
    except OSError:
        return ""
    count = os.cpu_count() or 1
    if load <= max(count, processes) + 1.0:
        return ""
    return f"; the machine is the limit: load {load:.1f} on {count} core{'s' * (count != 1)}"


def _seconds(left: torch.Tensor, right: torch.Tensor, device: torch.device) -> float:
    finish(device)
    start = time.perf_counter()
    with fast_products(device):
        left @ right
    finish(device)
    return time.perf_counter() - start
