"""Ctrl-C and SIGTERM, which both mean: stop."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Never

SIGNALS = (signal.SIGINT, signal.SIGTERM)
SAME = 1.0  # s; `timeout`, for one, sends a signal to the process and to its group: it was meant once

Handler = Callable[[int, FrameType | None], None]


def handler(action: Callable[[], None]) -> Handler:
    """Calls `action` at a signal, unless one came within the last second."""
    last = -SAME

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= SAME:
            last = now
            action()

    return handle


def install(handle: Handler) -> None:
    """Let `handle` answer both signals from now on. Only the main thread can; elsewhere nothing happens."""
    if threading.current_thread() is threading.main_thread():
        for number in SIGNALS:
            signal.signal(number, handle)


@contextmanager
def restored() -> Iterator[None]:
    """After the block the signals are answered as before it."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handle in before.items():
                if handle is not None:  # None: not installed from Python
                    signal.signal(number, handle)


def stop() -> Never:
    """The action of a command that has nothing to save."""
    raise KeyboardInterrupt
