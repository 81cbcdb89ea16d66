"""Ctrl-C, SIGTERM and SIGUSR1, all requests to stop; batch systems send the last two before a kill."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Never

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
SAME = 1.0  # s; `timeout`, for one, sends a signal to the process and to its group: it was meant once

Handler = Callable[[int, FrameType | None], None]

_last: int = signal.SIGINT  # the newest signal; the exceptions that it causes cannot carry it


def handler(action: Callable[[int], None]) -> Handler:
    """Calls `action` with the signal's number, unless one came within the last second."""
    last = -SAME

    def handle(number: int, frame: FrameType | None) -> None:
        global _last
        nonlocal last
        now = time.monotonic()
        if now - last >= SAME:
            last, _last = now, number
            action(number)

    return handle


def install(handle: Handler) -> None:
    """Handle the signals with `handle` from now on. Does nothing outside the main thread."""
    if threading.current_thread() is threading.main_thread():
        for number in SIGNALS:
            signal.signal(number, handle)


def ignore() -> None:
    """Ignore the signals: the parent process ends this one."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


@contextmanager
def restored() -> Iterator[None]:
    """Restores the signal handlers after the block."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handle in before.items():
                if handle is not None:  # None: not installed from Python
                    signal.signal(number, handle)


def stop(number: int) -> Never:
    """The action for a command that has nothing to save."""
    raise KeyboardInterrupt


def exit_code() -> int:
    """The exit code of a process that a signal stopped: 128 and its number, as shells have it."""
    return 128 + _last
