"""A packed corpus: recordings as 16-bit PCM at 16 kHz in a few large files, read at random places.

`CORPUS/index.parquet` has a row a recording and says where its samples stand in `CORPUS/shard-00000.pcm` and
so on (docs/packing.md). A corpus lies in a local folder, whose shards are mapped into memory, or in any
storage that `fsspec` knows (`s3://`, `https://`, ...), of which only the bytes that are asked for are read.
"""

import functools
import hashlib
import json
import os
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from atst.errors import AudioError, CorpusError, UsageError
from atst.sound.audio import SAMPLE_RATE
from atst.sound.duration import refuse_longer
from atst.sound.levels import Levels
from atst.sound.messages import Reply, Request
from atst.sound.remote import is_audio_address
from atst.sound.storage import is_remote, mapped, read_range, read_whole

FORMAT = 1
INDEX = "index.parquet"
JOURNAL = "unfinished.jsonl"  # in a corpus whose packing has not ended
NUMBERS = {
    "start": "f8",  # s, in the file that was packed
    "samples": "i8",
    "shard": "i4",
    "offset": "i8",  # samples before it in its shard
    "factor": "f4",  # what the stored samples are multiplied by
    "high": "f4",  # share of the file's energy above 8 kHz
    "sample_rate": "i4",  # Hz, of the file
}
COLUMNS = ("path", "end", "beyond", "remark", *NUMBERS)
FULL_SCALE = 32768


def shard_name(number: int) -> str:
    """The file name of a shard."""
    return f"shard-{number:05}.pcm"


def is_packed(source: str | os.PathLike[str]) -> bool:
    """Whether it is a folder with a complete packed corpus, or an address that is no audio file's."""
    folder = os.fspath(source)
    if is_remote(folder):
        return not is_audio_address(folder)
    index = Path(folder) / INDEX
    if (Path(folder) / JOURNAL).is_file() or not index.is_file():
        return False
    try:
        return "packed_corpus" in _about(pq.ParquetFile(index))
    except (pa.ArrowException, OSError, ValueError):
        return False


def open_packed(source: str | os.PathLike[str]) -> "Packed | None":
    """The packed corpus in a folder or under an address; None for anything else.

    Raises `CorpusError` for one of another format, that is not complete or cannot be read, `UsageError` for
    an unknown kind of address.
    """
    folder = os.fspath(source)
    if is_remote(folder):
        return Packed(folder, pa.BufferReader(read_whole(folder, INDEX)))
    if (Path(folder) / JOURNAL).is_file():
        raise CorpusError(
            f"{folder}: its packing has not ended; the same `atst pack` with --resume continues it."
        )
    index = Path(folder) / INDEX
    if is_packed(folder):
        return Packed(folder, index)
    if (Path(folder) / shard_name(0)).is_file():
        what = "damaged" if index.is_file() else "missing"
        raise CorpusError(f"{index}: {what}; copy it again or pack the corpus again.")
    return None


@functools.cache
def _opened_again(folder: str) -> "Packed":
    corpus = open_packed(folder)
    if corpus is None:
        raise CorpusError(f"{folder}: no packed corpus is there on this machine.")
    return corpus


class Packed:
    """The recordings of a packed corpus by row. Cheap to share with other processes; safe in threads.

    Holds some 80 bytes a recording. Its shards are opened when they are first read; a process that gets a
    pickled one opens the corpus itself, once.
    """

    def __init__(self, folder: str, index: Any) -> None:
        self.folder, self.index = folder, f"{folder}/{INDEX}"
        try:
            parquet = pq.ParquetFile(index)
        except (pa.ArrowException, OSError, ValueError) as error:
            raise CorpusError(f"{self.index}: damaged ({error}); copy it again.") from error
        about = _about(parquet)
        if (version := about.get("packed_corpus")) != FORMAT:
            what = f"a packed corpus of format {version}" if version else "not the index of a packed corpus"
            raise CorpusError(f"{self.index}: {what}; this version of atst reads format {FORMAT}.")
        if missing := set(COLUMNS) - set(parquet.schema_arrow.names):
            raise CorpusError(
                f"{self.index}: damaged, it has no column '{sorted(missing)[0]}'; copy it again."
            )
        self.channel: int | None = about.get("channel")
        try:
            self.shards = [int(samples) for samples in about.get("shards", [])]
            table = parquet.read([*NUMBERS, "remark"])
            arrays = [table[name].to_numpy().astype(kind, copy=False) for name, kind in NUMBERS.items()]
            if is_remote(folder):  # the index is here now
                self.paths = _paths(parquet)
            remarked = pc.indices_nonzero(pc.not_equal(table["remark"], "")).to_pylist()
            self.remarks: dict[int, str] = {row: table["remark"][row].as_py() for row in remarked}
        except (pa.ArrowException, OSError, ValueError, TypeError) as error:
            raise CorpusError(f"{self.index}: damaged ({error}); copy it again.") from error
        self.start, self.samples, self.shard, self.offset, self.factor, self.high, self.sample_rate = arrays
        self._check()
        self.version = 0 if is_remote(folder) else Path(self.index).stat().st_mtime_ns

    def __reduce__(self) -> tuple[Any, ...]:
        return _opened_again, (self.folder,)

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def seconds(self) -> NDArray[np.float64]:
        """The length of each recording."""
        return self.samples / SAMPLE_RATE

    @functools.cached_property
    def paths(self) -> pa.LargeStringArray:
        """The path of each recording; read when it is asked for, since training asks for few."""
        return _paths(pq.ParquetFile(self._index_file()))

    def path(self, row: int) -> str:
        """The recording's path, relative to what was packed."""
        return str(self.paths[int(row)].as_py())

    def waveform(self, row: int, first: int = 0, count: int | None = None) -> NDArray[np.float32]:
        """Float32 (N,) at 16 kHz: `count` samples (None: the rest) from sample `first` on.

        Raises `AudioError` when the shard cannot be read.
        """
        rest = int(self.samples[row]) - first
        count = rest if count is None else min(count, rest)
        shard, begin = int(self.shard[row]), int(self.offset[row]) + first
        name = shard_name(shard)
        if is_remote(self.folder):
            content = read_range(self.folder, name, 2 * begin, 2 * (begin + count))
            stored = np.frombuffer(content, "<i2")
        else:
            stored = mapped(f"{self.folder}/{name}", self.shards[shard], self.version)[begin : begin + count]
        scale = np.float32(self.factor[row]) / np.float32(FULL_SCALE)
        return np.multiply(stored, scale, dtype=np.float32)

    def columns(self, names: list[str] | None = None) -> dict[str, list[Any]]:
        """Columns of the index, all by default, those of the manifest that was packed among them."""
        table = pq.read_table(self._index_file(), columns=names)
        return dict(zip(table.column_names, (column.to_pylist() for column in table.columns), strict=True))

    def check_channel(self, channel: int | None) -> None:
        """Raises `UsageError` if another channel than the one that was packed is asked for."""
        if channel is not None and channel != self.channel:
            held = "the mean of all channels" if self.channel is None else f"channel {self.channel}"
            raise UsageError(
                f"--channel {channel}: {self.folder} holds {held}; pack it again with --channel {channel}."
            )

    def _index_file(self) -> Any:
        remote = is_remote(self.folder)
        return pa.BufferReader(read_whole(self.folder, INDEX)) if remote else self.index

    def _check(self) -> None:
        """Raises `CorpusError` if the shards are not those of the index; remote ones are not looked at."""
        whole = np.array([*self.shards, 0])
        inside = (self.shard >= 0) & (self.shard < len(self.shards)) & (self.offset >= 0) & (self.samples > 0)
        inside &= self.offset + self.samples <= whole[np.where(inside, self.shard, -1)]
        if not inside.all() or not (np.isfinite(self.factor) & (self.factor > 0)).all():
            row = int(np.argmin(inside))
            raise CorpusError(f"{self.index}: damaged in row {row}; copy it again or pack the corpus again.")
        for number, samples in enumerate([] if is_remote(self.folder) else self.shards):
            shard = Path(self.folder) / shard_name(number)
            size = shard.stat().st_size if shard.is_file() else None
            if size != 2 * samples:
                what = "missing" if size is None else f"{size:,} bytes, not the {2 * samples:,} of the index"
                raise CorpusError(f"{shard}: {what}; copy it again or pack the corpus again.")


def _paths(index: pq.ParquetFile) -> pa.LargeStringArray:
    return index.read(["path"])["path"].cast(pa.large_string()).combine_chunks()


@dataclass(frozen=True)
class Stored:
    """One recording of a packed corpus, which needs no decoding process."""

    corpus: Packed
    row: int

    def replies(self, request: Request, decoder: object) -> Iterator[Reply]:
        """What a decoding process would reply to a request for windows, or for what is in the file."""
        corpus, row, how = self.corpus, self.row, request.arguments
        corpus.check_channel(how.get("channel"))
        remark = corpus.remarks.get(row)
        remarks = [] if remark is None else [remark]
        if request.what == "survey":
            yield Reply(np.zeros(0, np.float32), self._about(), remarks, float(corpus.high[row]))
            return
        if request.what == "read":
            sound = corpus.waveform(row, 0, round(how["duration"] * SAMPLE_RATE))
            yield Reply(sound, None, remarks, float(corpus.high[row]))
            return
        assert request.what == "stretch", "tasks read packed corpora themselves"
        if remark is not None and not how.get("partial"):
            raise AudioError(f"{request.path}: {remark}")
        refuse_longer(request.path, float(corpus.seconds[row]), how.get("max_duration"))
        step = round(how["seconds"] * SAMPLE_RATE)
        for first in range(0, int(corpus.samples[row]), step):
            yield Reply(corpus.waveform(row, first, step), None, remarks, float(corpus.high[row]))

    def state(self) -> tuple[str, int, int]:
        """Its name, and what differs when the corpus was packed again."""
        corpus = self.corpus
        return f"{corpus.index}/{corpus.path(self.row)}", int(corpus.samples[self.row]), corpus.version

    def _about(self) -> dict[str, Any]:
        """As `decoding` surveys a file: its levels are those at 16 kHz."""
        corpus, levels, digest = self.corpus, Levels(), hashlib.sha256()
        levels.digest = digest
        parts = range(0, int(corpus.samples[self.row]), 60 * SAMPLE_RATE)
        deque(levels.of((corpus.waveform(self.row, at, 60 * SAMPLE_RATE) for at in parts), SAMPLE_RATE), 0)
        return {
            "seconds": float(corpus.seconds[self.row]),
            "sample_rate": int(corpus.sample_rate[self.row]),
            "channels": 1,
            "format": "packed corpus",
            "codec": "16-bit PCM",
            "peak": levels.peak,
            "high": float(corpus.high[self.row]),
            "silent": levels.silent,
            "clipped": levels.clipped,
            "content": digest.hexdigest()[:32],
        }


def _about(parquet: pq.ParquetFile) -> dict[str, Any]:
    """What the index says of the corpus; nothing if it is another program's table."""
    try:
        about = json.loads((parquet.schema_arrow.metadata or {}).get(b"atst", b"{}"))
    except (ValueError, RecursionError):
        return {}
    return about if isinstance(about, dict) else {}
