"""How long files are by their headers, kept in the cache folder, so that a later start opens none again."""

import fcntl
import hashlib
import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from atst.corpus.clips import Progress
from atst.corpus.listing import Listing
from atst.errors import AudioError, UsageError
from atst.output.atomic import new_file
from atst.output.cache import cache_folder
from atst.output.progress import say
from atst.sound.messages import Request
from atst.sound.pool import Pool

VERSION = 1  # of the index: another one is not read
A_PROCESS = 100  # files for each further decoding process


def lengths(files: Listing, progress: Progress | None = None) -> tuple[np.ndarray, dict[int, str]]:
    """How long each file is by its header (s, NaN if it cannot be read), and the reasons of those.

    Opens only those that are not in the index of this source, have changed since (by size and time) or could
    not be read; one process at a time, so that others find its index.
    """
    reasons: dict[int, str] = {}
    with _index(files.source) as index:
        seconds = _known(index, files)
        new = np.flatnonzero(np.isnan(seconds)).tolist()
        found = _headers(files, new)
        if progress is not None and new:
            found = progress(found, "reading headers", len(new))
        try:
            for number, result in zip(new, found, strict=True):
                if isinstance(result, str):
                    reasons[number] = result
                else:
                    seconds[number] = result
        finally:  # also what was read before Ctrl-C
            if len(new) > len(reasons):
                _write(index, files, seconds)
    return seconds, reasons


def _headers(files: Listing, numbers: list[int]) -> Iterable[float | str]:
    if not numbers:
        return
    requests = (Request("info", files.path(number)) for number in numbers)
    with Pool(1 + len(numbers) // A_PROCESS) as pool:
        for request, replies in pool.each(requests):
            try:
                yield float(next(replies).about["seconds"])
            except AudioError as error:
                yield str(error).removeprefix(f"{request.path}: ")


@contextmanager
def _index(source: Path) -> Iterator[Path | None]:
    """The index of a source, which no other process uses meanwhile; None where it cannot be kept."""
    name = hashlib.sha256(str(source.resolve()).encode(errors="surrogateescape")).hexdigest()[:24]
    try:
        folder = cache_folder() / "folders"
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / f"{name}.lock").open("w")
    except (OSError, UsageError):
        yield None
        return
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"{source}: waiting for another process that reads its headers")
            fcntl.flock(lock, fcntl.LOCK_EX)
        except OSError:  # a file system without locks: then several may do the same work
            pass
        yield folder / f"{name}.parquet"


def _known(index: Path | None, files: Listing) -> np.ndarray:
    """The lengths that the index knows; NaN for the others."""
    seconds = np.full(len(files), math.nan)
    try:
        table = pq.read_table(index) if index is not None and index.is_file() else None
        if table is None or (table.schema.metadata or {}).get(b"atst") != str(VERSION).encode():
            return seconds
        names = table["name"].combine_chunks()
        if names.equals(files.names):  # the usual case, which needs no table of hashes
            rows = np.arange(len(files))
        else:
            rows = pc.index_in(files.names, value_set=names).fill_null(-1).to_numpy()
        same = rows >= 0
        for name, now in (("size", files.sizes), ("changed", files.changed)):
            same &= table[name].to_numpy()[rows] == now
        seconds[same] = table["seconds"].to_numpy()[rows[same]]
    except (pa.ArrowException, OSError, KeyError, IndexError):  # damaged: as if there were none
        return np.full(len(files), math.nan)
    return seconds


def _write(index: Path | None, files: Listing, seconds: np.ndarray) -> None:
    if index is None:
        return
    columns = {"name": files.names, "size": files.sizes, "changed": files.changed, "seconds": seconds}
    table = pa.table(columns).replace_schema_metadata({"atst": str(VERSION)})
    try:
        with new_file(index) as temporary:
            pq.write_table(table, temporary, use_dictionary=False)
    except OSError as error:
        say(f"{files.source}: the index of its files cannot be kept in {index}: {error.strerror}")
