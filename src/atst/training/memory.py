"""Keeps the memory of large tensors in a process that works long, instead of asking the system each time."""

import ctypes
import sys

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4  # of malloc.h
NEVER = 2**31 - 1
TOP_PAD = 64 * 2**20  # bytes that the heap grows by


def keep() -> None:
    """Have glibc take large blocks from its heap, and never give the heap's end back; elsewhere nothing.

    Fresh pages are zeroed by the system when they are first touched, which can cost a convolution on CPU as
    much time as its arithmetic (`benchmarks/memory.py`).
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    if mallopt is not None:
        for option, value in ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, NEVER), (M_TOP_PAD, TOP_PAD)):
            mallopt(option, value)
