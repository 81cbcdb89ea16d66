"""The option `--channel`: which channel of a recording is heard."""

from atst.errors import UsageError

MEAN = "mean"


def channel_number(text: str | int) -> int | None:
    """None for `mean`, else the number, from 0. Raises `UsageError`."""
    if text == MEAN:
        return None
    if not str(text).isdecimal():
        raise UsageError(f"--channel must be '{MEAN}' or the number of a channel, from 0, not '{text}'.")
    return int(text)
