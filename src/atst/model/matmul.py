"""Float32 products of matrices on a CPU by the faster of the two libraries that PyTorch has for them.

PyTorch gives them to MKL, which uses no AVX-512 on AMD's processors; oneDNN, which multiplies bfloat16 in
PyTorch, does, and was twice as fast on one (`benchmarks/matmul.py`). PyTorch hands float32 to oneDNN where
that may round to bfloat16. oneDNN rounds on processors with AMX; on others it computes in float32 still.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch

MAY_ROUND, EXACT = "bf16", ("none", "ieee")
SIDE, MOST_ERROR = 256, 1e-5  # of sums of as many products of about 1; with bfloat16 it is 1e-2

CPU = torch.device("cpu")
_mkldnn: Any = torch.backends.mkldnn  # whose types do not know `matmul`
_lock = threading.Lock()
_inside = 0  # of all threads
_before = "none"


@contextmanager
def fast_products(device: torch.device = CPU) -> Iterator[None]:
    """Inside, float32 matrices are multiplied by oneDNN, if the processor has AVX-512 and nothing is rounded.

    With another `device` than a CPU nothing changes. The setting is the whole process's; it goes back when
    the last thread leaves. Meanwhile `torch.get_float32_matmul_precision` raises `RuntimeError`, as it does
    beside any setting of one backend: Lightning asks on GPUs.
    """
    applies = device.type == "cpu" and _enter()
    try:
        yield
    finally:
        if applies:
            _leave()


def fast_products_apply() -> bool:
    """Whether oneDNN multiplies float32 matrices just now."""
    return _inside > 0


def _enter() -> bool:
    global _inside, _before
    with _lock:
        if not _inside:
            setting = _mkldnn.matmul.fp32_precision
            if setting not in EXACT or not _is_exact():  # the user has allowed rounding; or it would round
                return False
            _before = setting
            _mkldnn.matmul.fp32_precision = MAY_ROUND
        _inside += 1
        return True


def _leave() -> None:
    global _inside
    with _lock:
        _inside -= 1
        if not _inside:
            _mkldnn.matmul.fp32_precision = _before


@cache
def _is_exact() -> bool:
    """Whether oneDNN computes in float32 though it may round, tried on one product."""
    if torch.backends.cpu.get_cpu_capability() != "AVX512" or not _mkldnn.is_available():
        return False
    left, right = (torch.linspace(low, 1.7, SIDE**2).view(SIDE, SIDE) for low in (0.3, 0.7))
    before = _mkldnn.matmul.fp32_precision
    _mkldnn.matmul.fp32_precision = MAY_ROUND
    try:
        product = left @ right
    finally:
        _mkldnn.matmul.fp32_precision = before
    true = left.double() @ right.double()
    return bool((product / true - 1).abs().max() < MOST_ERROR)
