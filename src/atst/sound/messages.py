"""What is asked of a decoding process, and what it replies, as they go through a socket."""

import json
import os
from dataclasses import dataclass, field
from io import BufferedRWPair
from pathlib import Path
from typing import Any

import numpy as np

from atst.errors import AudioError

SMALL = 1 << 20  # bytes of a file
SECONDS, BYTES_A_SECOND = 60.0, 1e6  # a step may take so long, and a second more for so much of the file


@dataclass(frozen=True)
class Request:
    """What to read: `what` is one of `decoding.WORK`, the arguments are those of its function."""

    what: str
    path: str
    arguments: dict[str, Any] = field(default_factory=dict)
    stored: Any = None  # the `packed.Stored` or `remote.Remote` that replies instead

    @property
    def is_small(self) -> bool:
        """Whether it takes a decoding process about as long as being told."""
        return self.stored is None and state(self.path)[0] < SMALL


@dataclass
class Reply:
    """A waveform float32 (N,), or what else was asked for; `remarks` on what was read so far."""

    waveform: np.ndarray
    about: Any
    remarks: list[str]
    high: float  # share of the energy above 8 kHz, so far


def line(request: Request) -> bytes:
    """A request as the process reads it."""
    text = {"what": request.what, "path": request.path, "arguments": request.arguments}
    return json.dumps({**text, "limit": limit(request), "folder": here()}).encode() + b"\n"


def limit(request: Request) -> float:
    """Seconds that a step may take."""
    return SECONDS + state(request.path)[0] / BYTES_A_SECOND


def received(channel: BufferedRWPair) -> tuple[Reply, bool]:
    """A reply, and whether it is the last. Raises `AudioError`; `EOFError` if the process has ended."""
    line = channel.readline()
    if not line.endswith(b"\n"):
        raise EOFError
    message = json.loads(line)
    if "error" in message:
        raise AudioError(message["error"])
    waveform = np.empty(message["samples"], np.float32)
    if channel.readinto(waveform.data) < waveform.nbytes:
        raise EOFError
    return Reply(waveform, message.get("about"), message["remarks"], message["high"]), message["last"]


def here() -> str | None:
    """The current folder, which may have changed since the process was started."""
    try:
        return os.getcwd()  # noqa: PTH109 - Path.cwd() would cost more than the rest
    except OSError:
        return None


def state(path: str) -> tuple[int, int]:
    """Size of a file in bytes and when it was changed."""
    try:
        state = Path(path).stat()
    except (OSError, ValueError):
        return 0, 0
    return state.st_size, state.st_mtime_ns
