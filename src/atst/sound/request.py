"""What a decoding process is asked, and what it answers."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Request:
    """What to read: `what` is one of `decoding.WORK`, the arguments are those of its function."""

    what: str
    path: str
    arguments: dict[str, Any] = field(default_factory=dict)
    stored: Any = None  # the `packed.Stored` that replies instead


@dataclass
class Reply:
    """A waveform float32 (N,), or what else was asked for; `remarks` on what was read so far."""

    waveform: np.ndarray
    about: Any
    remarks: list[str]
    high: float = 0.0  # share of the energy above 8 kHz, so far
