"""A recording: where it is, and the stretch of it to read."""

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from atst.sound.packed import Stored
from atst.sound.remote import Remote


@dataclass(frozen=True)
class Recording:
    """A file to read, or a stretch of it."""

    path: Path
    start: float = 0.0  # s
    end: float | None = None  # s; None: the file's end
    where: str = ""  # the manifest and its line that ask for the stretch
    stored: Stored | Remote | None = None  # in a packed corpus, or at an address; `path` is then its name
    row: dict[str, str] | None = None  # the further columns of the manifest, for packing
    named: str = ""  # what it is called where that is not `path`: by an address, or - for standard input

    @property
    def name(self) -> str:
        """The recording's name in outputs and messages."""
        return self.named or str(self.path)

    def state(self) -> tuple[str, float, float | None, int, int]:
        """Differs between stretches, and where the file has changed as far as size and time (ns) tell."""
        name, size, changed = self.name, -1, 0
        if self.stored is not None:
            name, size, changed = self.stored.state()
        else:
            with suppress(OSError, ValueError):
                found = self.path.stat()
                size, changed = found.st_size, found.st_mtime_ns
        return name, self.start, self.end, size, changed

    def key(self) -> tuple[str, float, float | None]:
        """Equal for the same stretch of the same file, whatever its name."""
        place = os.path.realpath(self.path) if self.stored is None else self.stored.state()[0]
        return place, self.start, self.end

    @classmethod
    def at(cls, address: str, **further: Any) -> "Recording":
        """One at an address."""
        return cls(Path(address), stored=Remote(address), named=address, **further)
