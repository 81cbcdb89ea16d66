"""Names that look alike are alike: labels and paths in either of Unicode's normal forms.

A Mac writes an accented letter as two characters (NFD), other systems as one (NFC).
"""

import unicodedata
from pathlib import Path

FORMS = ("NFC", "NFD")


def same_form(label: str) -> str:
    """A label in the form in which labels are compared: NFC."""
    return unicodedata.normalize("NFC", label)


def existing(folder: Path, name: str) -> str:
    """The path `name` below `folder`, with each part in the form that exists; `name` if none does."""
    if name.isascii() or (folder / name).exists():
        return name
    found = Path()
    for part in Path(name).parts:
        forms = (part, *(unicodedata.normalize(form, part) for form in FORMS))  # type: ignore[arg-type]
        found /= next((form for form in forms if (folder / found / form).exists()), part)
    return found.as_posix() if (folder / found).exists() else name
