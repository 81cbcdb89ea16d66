"""The files that sources name, without opening any: their names, and what tells whether one has changed.

A million files are some flat arrays here, not a million objects.
"""

import os
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa

from atst.output.progress import SEARCH_SECONDS, track
from atst.output.skipped import Skipped
from atst.sound.find import find_audio
from atst.sound.recording import Recording
from atst.sound.walk import entries


@dataclass
class Listing:
    """The files, or stretches of files, of one source. `prefix` and a name together are a path."""

    source: Path
    prefix: str
    names: pa.LargeBinaryArray
    sizes: np.ndarray  # bytes
    changed: np.ndarray  # ns since 1970
    keys: np.ndarray  # equal for the same file, whatever its name
    skipped: list[Skipped]
    recordings: Sequence[Recording] | None = None  # of a manifest, whose rows may be stretches

    def __len__(self) -> int:
        return len(self.names)

    def path(self, number: int) -> str:
        """The path of a file."""
        return self.prefix + os.fsdecode(self.names[number].as_py())

    def forget(self) -> None:
        """Keep the names alone."""
        self.sizes = self.changed = self.keys = np.zeros(0, np.int64)
        self.recordings = None


def listed(source: Path) -> Listing:
    """What a folder, a manifest or a file names. Raises what `find_audio` does."""
    if not source.is_dir():
        return _recordings(source)
    skipped: list[Skipped] = []
    columns, prefix = _Columns(), os.path.join(source, "").removeprefix("./")  # noqa: PTH118 - ends in a slash
    start = len(os.path.join(source, ""))  # noqa: PTH118
    for real, entry in track(entries(source, skipped), "searching", after=SEARCH_SECONDS):
        whole = os.path.realpath(entry.path) if entry.is_symlink() else f"{real}/{entry.name}"
        try:
            state = entry.stat()
        except OSError as error:
            skipped.append((entry.path, f"cannot be read: {error.strerror}"))
            continue
        columns.add(entry.path[start:], state, (whole, 0.0, None))
    if not len(columns.sizes):
        return _recordings(source)  # which says what is wrong
    return Listing(source, prefix, *columns.arrays(), skipped)


def _recordings(source: Path) -> Listing:
    found = find_audio([source])
    listing = listing_of(source, found.recordings)
    listing.skipped, listing.recordings = found.skipped, found.recordings
    return listing


def listing_of(source: Path, recordings: Iterable[Recording]) -> Listing:
    """The recordings that a table, `source`, names."""
    columns = _Columns()
    for recording in recordings:
        try:
            state = recording.path.stat()
        except (OSError, ValueError):
            state = None
        columns.add(str(recording.path), state, recording.key())
    return Listing(source, "", *columns.arrays(), [])


@dataclass
class _Columns:
    """Columns of a listing that grow."""

    text: bytearray = field(default_factory=bytearray)
    ends: "array[int]" = field(default_factory=lambda: array("q", [0]))
    sizes: "array[int]" = field(default_factory=lambda: array("q"))
    changed: "array[int]" = field(default_factory=lambda: array("q"))
    keys: "array[int]" = field(default_factory=lambda: array("q"))

    def add(self, name: str, state: os.stat_result | None, key: object) -> None:
        self.text += os.fsencode(name)
        self.ends.append(len(self.text))
        self.sizes.append(-1 if state is None else state.st_size)
        self.changed.append(0 if state is None else state.st_mtime_ns)
        self.keys.append(hash(key))

    def arrays(self) -> tuple[pa.LargeBinaryArray, np.ndarray, np.ndarray, np.ndarray]:
        buffers = [None, pa.py_buffer(self.ends), pa.py_buffer(self.text)]
        names = pa.LargeBinaryArray.from_buffers(pa.large_binary(), len(self.sizes), buffers)
        return names, *(np.frombuffer(column, np.int64) for column in (self.sizes, self.changed, self.keys))
