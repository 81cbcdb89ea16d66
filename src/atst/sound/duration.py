"""The option `--max-duration`: recordings that are longer, or claim to be, are left out."""

import math

from atst.errors import AudioError, UsageError


def check_max_duration(seconds: float | None) -> None:
    """Raises `UsageError` for a limit that is not a number of seconds above 0."""
    if seconds is not None and not (math.isfinite(seconds) and seconds > 0):
        raise UsageError(f"--max-duration must be more than 0 seconds, not {seconds:g}.")


def too_long(seconds: float, most: float | None, claimed: bool = True) -> str | None:
    """Why a recording of `seconds`, by its header or by what was decoded so far, is left out; else None."""
    if most is None or seconds <= most:
        return None
    length = f"{seconds:.2f} s by its header" if claimed else "its sound goes on"
    return f"longer than --max-duration {most:g} s ({length})"


def refuse_longer(path: str, seconds: float, most: float | None, claimed: bool = True) -> None:
    """Raises `AudioError` for a recording that is left out."""
    if reason := too_long(seconds, most, claimed):
        raise AudioError(f"{path}: {reason}")
