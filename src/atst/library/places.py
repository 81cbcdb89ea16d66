"""Where the recordings of a library are on this disk."""

import os
from collections.abc import Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath

from atst.output.progress import say
from atst.output.text import path_text, writable

SHOWN = 5  # missing recordings that are named
UNREADABLE = "\N{REPLACEMENT CHARACTER}"  # stands for a byte of a name that is not valid UTF-8


class Places:
    """Finds recordings by their stored paths, below `root` if one is given."""

    def __init__(self, root: str | Path | None, beside: Path) -> None:
        self._root = None if root is None else Path(root)
        self._beside = beside
        self._found: dict[str, Path | None] = {}

    def find(self, stored: str) -> Path | None:
        """The file, or None."""
        if stored not in self._found:
            self._found[stored] = next(filter(None, map(_existing, self._candidates(stored))), None)
        return self._found[stored]

    @property
    def missing(self) -> list[str]:
        """The paths that were not found, in the order in which they were asked for."""
        return [stored for stored, place in self._found.items() if place is None]

    def _candidates(self, stored: str) -> list[Path]:
        if self._root is None:
            return [Path(stored), self._beside / stored]
        pure = PureWindowsPath(stored) if "\\" in stored and "/" not in stored else PurePosixPath(stored)
        parts = [part for part in pure.parts if part not in (pure.anchor, "..")]
        return [self._root.joinpath(*parts[i:]) for i in range(len(parts))]


def say_missing(paths: Sequence[str]) -> None:
    """Say which recordings are not on this disk, if there are any."""
    if paths:
        shown = writable(", ".join(paths[:SHOWN])) + (", ..." if len(paths) > SHOWN else "")
        say(f"recordings that are not on this disk: {len(paths):,} ({shown}); --root says where they are now")


def _existing(path: Path) -> Path | None:
    """The regular file at this path, also where its name holds bytes that the stored text could not."""
    try:
        if path.is_file():
            return path
        if UNREADABLE in path.name and path.parent.is_dir():
            alike = [entry for entry in os.scandir(path.parent) if path_text(Path(entry.name)) == path.name]
            return Path(alike[0].path) if len(alike) == 1 and alike[0].is_file() else None
    except (OSError, ValueError):  # too long a name, a null character
        pass
    return None
