"""What lies under a folder: recordings, and files that may be annotations of them."""

import os
from collections.abc import Iterator
from pathlib import Path

from atst.sound.find import AUDIO


def files_under(folder: Path, audio: bool) -> Iterator[Path]:
    """The files whose names end like audio, or those whose names do not; sorted, without hidden ones
    and what is no regular file."""
    for here, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(here, name)
            if not name.startswith(".") and (path.suffix.lower() in AUDIO) == audio and path.is_file():
                yield path
