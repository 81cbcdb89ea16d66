"""Names that look alike are alike: labels and paths in either of Unicode's normal forms.

A Mac writes an accented letter as two characters (NFD), other systems as one (NFC).
"""

import os
import unicodedata
from contextlib import suppress
from pathlib import Path

FORMS = ("NFC", "NFD")


def same_form(label: str) -> str:
    """A label in the form in which labels are compared: NFC."""
    return unicodedata.normalize("NFC", label)


def is_possible(name: str) -> bool:
    """Whether a file can have this name: no zero character, nor half of a pair of surrogates."""
    with suppress(UnicodeEncodeError):
        return b"\0" not in os.fsencode(name)
    return False


def existing(folder: Path, name: str) -> str:
    """The path `name` below `folder`, with each part in the form that exists; `name` if none does."""
    if name.isascii() or os.path.exists(folder / name):  # noqa: PTH110 - Path.exists() fails on long names
        return name
    found = Path()
    for part in Path(name).parts:
        forms = (part, *(unicodedata.normalize(form, part) for form in FORMS))  # type: ignore[arg-type]
        there = (form for form in forms if os.path.exists(folder / found / form))  # noqa: PTH110
        found /= next(there, part)
    return found.as_posix() if os.path.exists(folder / found) else name  # noqa: PTH110
