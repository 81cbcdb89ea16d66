"""Many stretches of one file after the other, without decoding what lies before each again."""

from pathlib import Path
from typing import Unpack

import numpy as np

from atst.errors import AudioError
from atst.sound import audio
from atst.sound.audio import SAMPLE_RATE
from atst.sound.decoders import opened
from atst.sound.source import How, Pathlike

LIMIT = 256 << 20  # bytes of sound that are kept: 70 minutes


class Recent:
    """Reads stretches as `audio.read`, and keeps the sound of the file that is being read.

    Only of files whose decoder must begin at their start, from the second stretch in a row on, and of bounded
    length: decided once a file. `key` says which file that is, as it was.
    """

    def __init__(self) -> None:
        self.key: tuple[object, ...] | None = None
        self.whole: np.ndarray | None = None
        self.decided = False  # whether it is to be kept

    def read(
        self, path: Pathlike, start: float = 0.0, duration: float | None = None, **how: Unpack[How]
    ) -> np.ndarray:
        """As `audio.read`."""
        key = (_identity(path), how.get("channel"), how.get("partial"))
        if key[0] is None or key != self.key:
            self.key, self.whole, self.decided = key, None, False
        elif not self.decided:
            self.decided = True
            self.whole = _all_of(path, how.copy()) if _is_worth_keeping(path) else None
        first = round(start * SAMPLE_RATE)
        if duration and self.whole is not None and 0 <= first < len(self.whole):
            last = max(first + 1, round((start + duration) * SAMPLE_RATE))
            return self.whole[first:last].copy()
        return audio.read(path, start, duration, **how)


def _identity(path: Pathlike) -> tuple[int, ...] | None:
    """A file as it is; None where there is none."""
    try:
        state = Path(path).stat()
    except (OSError, ValueError):
        return None
    return state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns


def _is_worth_keeping(path: Pathlike) -> bool:
    with opened(path) as source:
        return not source.exact and source.length()[0] * SAMPLE_RATE * 4 <= LIMIT


def _all_of(path: Pathlike, how: How) -> np.ndarray | None:
    """The whole file; None where it is longer than it says, damaged, or has something to remark."""
    remarks = how["remarks"] = []
    parts: list[np.ndarray] = []
    try:
        for part in audio.stream(path, 60.0, **how):
            parts.append(part)
            if sum(map(len, parts)) * 4 > LIMIT:
                return None
    except AudioError:
        return None
    return None if remarks else np.concatenate(parts)
