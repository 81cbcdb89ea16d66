"""Writes a packed corpus: shards, a journal of what is in them, and at the end the index made of the journal.

A line of the journal is written when the samples that it tells of are on disk. So after a kill whatever
stands behind those is cut off, and what follows is the same bytes as without the kill.
"""

import json
import os
import time
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from atst.errors import CorpusError, UsageError
from atst.output.atomic import new_file, remove_leftovers, sync, write_text
from atst.sound.packed import COLUMNS, INDEX, JOURNAL, NUMBERS, shard_name

SHARD_SAMPLES = 1 << 29  # 1 GiB: a shard that would grow beyond is closed
SAVE_SECONDS = 5.0  # so much work at most is done again after a kill
GROUP_ROWS = 65536
TYPES = {name: pa.from_numpy_dtype(kind) for name, kind in NUMBERS.items()}
TYPES |= {"path": pa.string(), "end": pa.float64(), "beyond": pa.int64(), "remark": pa.string()}


class ShardWriter:
    """The files of a corpus that is being packed; continues those that are there.

    `about` is what has to be the same when packing goes on. Raises `UsageError` if it is not, `CorpusError`
    if the files are not those of the journal.
    """

    def __init__(self, folder: Path, about: dict[str, Any]) -> None:
        self.folder, self.journal, self.about = folder, folder / JOURNAL, about
        self.shards: list[int] = []  # samples of each
        self.done = 0  # recordings, those that were skipped among them
        self.pending: list[str] = []
        self.file: IO[bytes] | None = None
        self.saved = time.monotonic()
        if self.journal.exists():
            self._continue()
        else:
            folder.mkdir(parents=True, exist_ok=True)
            write_text(self.journal, json.dumps(about) + "\n")

    def entries(self) -> Iterator[dict[str, Any]]:
        """What the journal tells of the recordings so far, in order."""
        with self.journal.open("rb") as lines:
            next(lines, None)
            for line in lines:
                if line.endswith(b"\n"):  # the last one may be torn
                    yield json.loads(line)

    def append(self, blocks: Iterable[NDArray[np.int16]], samples: int) -> dict[str, int]:
        """Write a recording of so many samples; where it stands."""
        if not self.shards or (self.shards[-1] and self.shards[-1] + samples > SHARD_SAMPLES):
            self.save()
            self._close()
            self.shards.append(0)
        if self.file is None:
            self.file = self._shard(len(self.shards) - 1).open("ab")
        place = {"shard": len(self.shards) - 1, "offset": self.shards[-1]}
        for block in blocks:
            self.file.write(block.astype("<i2", copy=False).tobytes())
        self.shards[-1] += samples
        return place

    def add(self, entry: dict[str, Any]) -> None:
        """Note in the journal what became of the next recording."""
        self.pending.append(json.dumps(entry) + "\n")
        self.done += 1
        if time.monotonic() - self.saved >= SAVE_SECONDS:
            self.save()

    def save(self) -> None:
        """Have everything so far on disk."""
        if self.file is not None:
            self.file.flush()
            os.fsync(self.file.fileno())
        if self.pending:
            with self.journal.open("ab") as journal:
                journal.write("".join(self.pending).encode())
                journal.flush()
                os.fsync(journal.fileno())
        self.pending, self.saved = [], time.monotonic()

    def finish(self, about: dict[str, Any]) -> None:
        """Make the index of the journal; `about` goes into its metadata."""
        self.save()
        self._close()
        sync(self.folder)
        further = dict.fromkeys(name for entry in self._rows() for name in entry["row"])
        schema = pa.schema([*TYPES.items(), *((_column(name), pa.string()) for name in further)])
        schema = schema.with_metadata({"atst": json.dumps(about | {"shards": self.shards})})
        rows = self._rows()
        with new_file(self.folder / INDEX) as temporary, pq.ParquetWriter(temporary, schema) as index:
            while group := list(islice(rows, GROUP_ROWS)):
                columns = {name: [entry[name] for entry in group] for name in TYPES}
                columns |= {
                    _column(name): [entry["row"].get(name, "") for entry in group] for name in further
                }
                index.write_table(pa.table(columns, schema))
        self.journal.unlink()

    def discard(self) -> None:
        """Remove everything."""
        self._close()
        for number in range(len(self.shards)):
            self._shard(number).unlink(missing_ok=True)
        self.journal.unlink(missing_ok=True)

    def close(self) -> None:
        """Have everything on disk, to be continued."""
        if self.journal.exists():
            self.save()
        self._close()

    def _rows(self) -> Iterator[dict[str, Any]]:
        return (entry for entry in self.entries() if "samples" in entry)

    def _close(self) -> None:
        if self.file is not None:
            self.file.close()
        self.file = None

    def _shard(self, number: int) -> Path:
        return self.folder / shard_name(number)

    def _continue(self) -> None:
        remove_leftovers(self.folder)
        with self.journal.open("rb+") as journal:
            before = json.loads(journal.readline() or b"{}")
            changed = [what for what in self.about if before.get(what) != self.about[what]]
            if changed:
                raise UsageError(
                    f"--resume: {changed[0]} changed since the packing of {self.folder} began; give what was "
                    "given then, or remove that folder."
                )
            end = journal.tell()
            while (line := journal.readline()).endswith(b"\n"):
                end = journal.tell()
                self.done += 1
                entry = json.loads(line)
                if "samples" in entry:
                    self.shards += [0] * (entry["shard"] + 1 - len(self.shards))
                    self.shards[entry["shard"]] = entry["offset"] + entry["samples"]
            journal.truncate(end)
        for number, samples in enumerate(self.shards):
            path = self._shard(number)
            if not path.is_file() or path.stat().st_size < 2 * samples:
                raise CorpusError(
                    f"{path}: shorter than {JOURNAL} says; remove {self.folder} and pack again."
                )
            os.truncate(path, 2 * samples)
        for path in self.folder.glob("shard-*.pcm"):
            if path.name >= shard_name(len(self.shards)):
                path.unlink()


def _column(name: str) -> str:
    """The column of the index for one of a manifest."""
    return f"manifest_{name}" if name in COLUMNS else name
