"""The failures a user can cause. Their text names the value, says what is wrong and what to do.

The command line prints the text alone and exits with `exit_code`: 2 for a wrong option, name or
key, 1 for work that failed.
"""

import difflib
from collections.abc import Iterable


class AtstError(Exception):
    """Base of all errors caused by the user's input rather than by a defect of this library."""

    exit_code = 1


class UsageError(AtstError):
    """An option, name or recipe key that is invalid."""

    exit_code = 2


class AudioError(AtstError):
    """A file or array that cannot become a waveform."""


class CorpusError(AtstError):
    """A collection of sounds with nothing usable in it."""


class ModelError(AtstError):
    """A model folder or checkpoint that cannot be used."""


class TrainingError(AtstError):
    """A run that cannot start, go on or be resumed."""


def unknown(what: str, value: str, valid: Iterable[str]) -> UsageError:
    """The error for a name that is not one of `valid`: names the nearest and lists them all."""
    names = sorted(valid)
    near = difflib.get_close_matches(value, names, n=1)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    return UsageError(f"unknown {what} '{value}'.{hint} Valid: {', '.join(names)}.")
