"""The options `--channel` and `--max-duration`: how recordings are read."""

import math

from atst.errors import UsageError
from atst.sound.source import How

MEAN = "mean"


def how_to_read(channel: str | int, max_duration: float | None) -> How:
    """The options as `audio.stream` takes them. Raises `UsageError`."""
    if max_duration is not None and not (math.isfinite(max_duration) and max_duration > 0):
        raise UsageError(f"--max-duration must be more than 0 seconds, not {max_duration:g}.")
    return {"channel": channel_number(channel), "max_duration": max_duration}


def channel_number(text: str | int | None) -> int | None:
    """None for `mean`, else the number, from 0. Raises `UsageError`."""
    if text is None or text == MEAN:
        return None
    if not str(text).isdecimal():
        raise UsageError(f"--channel must be '{MEAN}' or the number of a channel, from 0, not '{text}'.")
    return int(text)
