"""Decoding in processes that can be given up: a file that ends or hangs its decoder costs itself alone.

A decoding process knows NumPy and the decoders, no PyTorch, and ends by itself when its owner is gone. It has
a limit of time for each step (a header, a stretch, a window), which the system's timer enforces whatever the
decoder does, and of memory. The functions here use one that belongs to the calling thread; `pool` has
several, for many files in order.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from atst.errors import AtstError, AudioError
from atst.sound import audio
from atst.sound.messages import Reply, Request, here, limit, line, received, state

# Isolated mode and the owner's search path: a module in the current folder must not take another's place.
START = """
import json, signal, sys
for name in "SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1":  # the owner decides when to end
    signal.signal(getattr(signal, name), signal.SIG_IGN)
sys.path[:] = json.loads(sys.argv[1])
from atst.sound.decoding import serve
serve(int(sys.argv[2]))
"""


def ask(request: Request) -> Iterator[Reply]:
    """The replies of this thread's decoding process. Raises `AudioError` while they are taken."""
    return _decoder().ask(request)


def read(
    path: str | os.PathLike[str],
    start: float = 0.0,
    duration: float | None = None,
    remarks: list[str] | None = None,
    **how: Any,
) -> np.ndarray:
    """As `audio.read`, in this thread's decoding process."""
    return waveform(Request("read", os.fspath(path), {"start": start, "duration": duration, **how}), remarks)


def waveform(
    request: Request, remarks: list[str] | None = None, high: list[float] | None = None
) -> np.ndarray:
    """What is asked for, in this thread's decoding process; `high` gets its share of energy above 8 kHz."""
    (reply,) = ask(request)
    if remarks is not None:
        remarks += reply.remarks
    if high is not None:
        high.append(reply.high)
    return reply.waveform


def stream(
    path: str | os.PathLike[str], seconds: float, remarks: list[str] | None = None, **how: Any
) -> Iterator[np.ndarray]:
    """As `audio.stream`, in this thread's decoding process.

    With `start` and `end` (seconds) only that stretch, which the table at `where` asks for.
    """
    for reply in _decoder().ask(Request("stretch", os.fspath(path), {"seconds": seconds, **how})):
        if remarks is not None:
            remarks[:] = reply.remarks
        yield reply.waveform


def native(path: str | os.PathLike[str], start: float, duration: float) -> tuple[np.ndarray, int]:
    """At most `duration` seconds of a file as recorded, to be heard and seen: float32 (N,), and its rate."""
    about, sound = _decoder().ask(Request("native", os.fspath(path), {"start": start, "duration": duration}))
    return sound.waveform, about.about["rate"]


def info(path: str | os.PathLike[str]) -> audio.AudioInfo:
    """As `audio.info`, in this thread's decoding process."""
    (reply,) = _decoder().ask(Request("info", os.fspath(path)))
    return audio.AudioInfo(**reply.about)


class Decoder:
    """One decoding process, started at once and again when it has ended."""

    def __init__(self) -> None:
        self.owner = os.getpid()
        self.given_up: dict[tuple[object, ...], str] = {}  # files that ended the process twice, and how
        self.process: subprocess.Popen[bytes] | None = None
        self.closed = False
        self.fetching = False  # waits for a file from elsewhere
        self.sent: deque[Request] = deque()  # which it has, besides that whose replies are taken
        self.busy = False  # with a request whose replies are not all taken
        self._start()

    def ask(self, request: Request, following: Sequence[Request] = ()) -> Iterator[Reply]:
        """The replies to a request. Raises `AudioError`.

        A file that ends the process is tried once more by a new one, and as it is never a third time. The
        process may begin with the requests that will follow, which spares it the wait for each.
        """
        if request.stored is not None:
            yield from request.stored.replies(request, self)
            return
        file = (here(), request.path, *state(request.path))
        if file in self.given_up:
            raise AudioError(f"{request.path}: {self.given_up[file]}")
        given = 0
        for last in (False, True):
            try:
                for number, reply in enumerate(self._try(request, following)):
                    if number >= given:
                        given += 1
                        yield reply
                return
            except _Ended as end:
                if last or self.closed:
                    self.given_up[file] = str(end)
                    raise AudioError(f"{request.path}: {end}") from None

    def stop(self) -> None:
        """End the process, whatever it does; the next request starts another."""
        if (process := self.process) is not None:
            process.kill()
            process.wait()

    def _start(self) -> None:
        ours, theirs = socket.socketpair()
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        with ours, theirs:
            channel = theirs.fileno()
            command = [sys.executable, "-I", "-c", START, json.dumps(sys.path), str(channel)]
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, pass_fds=[channel], env=environment
            )
            self.channel = ours.makefile("rwb")
        self.ready = False

    def _try(self, request: Request, following: Sequence[Request]) -> Iterator[Reply]:
        """The replies of one process; afterwards it is ready for the next request, or ended."""
        # Nobody will take what is left of the request before, nor mistake it for this one's.
        if self.busy or (self.sent and self.sent[0] is not request):
            self._end()
        if self.process is None:
            self._start()
        process, channel = self.process, self.channel
        assert process is not None
        self.busy, finished = True, False
        try:
            if not self.ready and not channel.readline():
                raise AtstError("the process that decodes sound does not start; see the lines above.")
            self.ready = True
            if self.sent:
                self.sent.popleft()
            else:
                channel.writelines(map(line, (request, *following)))
                channel.flush()
                self.sent.extend(following)
            while not finished:
                reply, finished = received(channel)
                self.busy = not finished
                yield reply
        except AudioError:  # the process said so, and is ready for the next request
            self.busy, finished = False, True
            raise
        except (EOFError, OSError, ValueError):  # the last where another request closed the channel
            raise _Ended(_how(process.wait(), limit(request))) from None
        finally:
            if not finished and self.process is process:
                self._end()

    def _end(self) -> None:
        self.stop()
        with suppress(OSError):  # what it does not take any more
            self.channel.close()
        self.process, self.busy = None, False
        self.sent.clear()


class _Ended(Exception):
    """The decoding process has ended; the text says how it ended."""


_threads = threading.local()


def _decoder() -> Decoder:
    """This thread's decoding process; a forked process does not use that of its parent."""
    decoder: Decoder | None = getattr(_threads, "decoder", None)
    if decoder is None or decoder.owner != os.getpid():
        decoder = _threads.decoder = Decoder()
    return decoder


def _how(code: int, most: float) -> str:
    """How a process that was decoding ended."""
    if code == -signal.SIGALRM:
        return f"decoding it took more than {most:.0f} s"
    if code == -signal.SIGKILL:
        return "its decoder was killed, perhaps for lack of memory"
    return f"its decoder crashed ({signal.Signals(-code).name if code < 0 else f'exit code {code}'})"
