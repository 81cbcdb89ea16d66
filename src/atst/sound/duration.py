"""Recordings that are longer than `--max-duration`, or claim to be, are left out."""

from atst.errors import AudioError


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
