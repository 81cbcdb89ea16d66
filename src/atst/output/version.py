"""The versions of the formats of files: what a later release may have written is refused in one line."""

from pathlib import Path
from typing import Any

from atst.errors import AtstError

KEY = "format_version"  # in files of JSON and in metadata; files without it are of the first version


def check_version(version: Any, known: int, path: str | Path, error: type[AtstError]) -> None:
    """Raise `error` for a file whose version (None: it has none) is not one of 1 to `known`."""
    if version is not None and (type(version) is not int or not 1 <= version <= known):
        raise error(
            f"{path}: format version {repr(version)[:50]}; this release of atst reads {known} at most. "
            "Update atst, or make the file again."
        )
