"""The rows of many recordings, kept in parts as they are done: a job that was killed goes on where it was.

The folder `OUT.parts` holds `options.json`, which all parts share, and `part-00000.parquet` and so on. Each
says in its metadata which recordings it holds, in the order of its rows, and how their files were then.
"""

import functools
import json
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate, chain, groupby
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from atst.errors import UsageError
from atst.library.rows import Rows, tables
from atst.output import lock
from atst.output.atomic import new_file, remove_leftovers, write_text
from atst.output.progress import say
from atst.output.table import groups, writing
from atst.sound.recording import Recording
from atst.sound.windows import Reading

PART_ROWS = 10_000
PART_SECONDS = 600.0  # a part ends after this time too: no more than that is lost with a process
OPEN_GROUPS = 4  # row groups in memory while parts are joined

Key = tuple[Any, ...]  # of a recording: its name, its stretch, and size and time of change of its file


@dataclass(frozen=True)
class _Place:
    """Where the rows of a recording are, and what was noticed while it was read."""

    part: Path
    first: int
    rows: int
    noticed: dict[str, Any]  # fields of `Reading`


class Parts:
    """Which recordings are done, and their rows. To be made by `opened`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.places: dict[Key, _Place] = {}
        found = sorted(folder.glob("part-*.parquet"))
        self.next = 1 + max((int(part.stem.removeprefix("part-")) for part in found), default=-1)
        for part in found:
            self._take(part)

    def missing(self, recordings: Iterable[Recording]) -> list[Recording]:
        """Those whose rows are not there, or were made of a file that has changed since."""
        return [recording for recording in recordings if recording.state() not in self.places]

    def keep(self, rows: Iterable[Rows]) -> None:
        """Write rows, of whole recordings one after the other, as they come."""
        recordings = groupby(rows, key=lambda part: part.reading)
        for recording in recordings:
            part = self.folder / f"part-{self.next:05}.parquet"
            self._write(part, chain([recording], recordings))
            self.next += 1
            self._take(part)

    def readings(self, recordings: Iterable[Recording]) -> list[Reading]:
        """What became of those of the recordings whose rows are there."""
        return [Reading(r, **place.noticed) for r in recordings if (place := self.places.get(r.state()))]

    def tables(self, recordings: Sequence[Recording]) -> Iterator[pa.Table]:
        """Their rows, in their order. Parts that none of them is in are removed."""
        places = [place for r in recordings if (place := self.places.get(r.state()))]
        for part in {place.part for place in self.places.values()} - {place.part for place in places}:
            part.unlink()
        group, ends_of = functools.lru_cache(OPEN_GROUPS)(_group), functools.lru_cache(None)(_group_ends)
        for part, first, last in _spans(places):
            ends = ends_of(part)
            for number, (begin, end) in enumerate(zip([0, *ends], ends, strict=False)):
                if begin < last and end > first:
                    table = group(part, number)
                    yield table.slice(max(0, first - begin), min(last, end) - max(first, begin))

    def _take(self, part: Path) -> None:
        """Note which recordings a part holds."""
        try:
            entries = json.loads(pq.read_metadata(part).metadata[b"recordings"])
        except (OSError, ValueError, KeyError, TypeError, pa.ArrowException):
            say(f"{part}: damaged; its recordings are embedded again")
            part.unlink()
            return
        first = 0
        for entry in entries:
            self.places[tuple(entry["key"])] = _Place(part, first, entry["rows"], entry["noticed"])
            first += entry["rows"]

    def _write(self, part: Path, recordings: Iterator[tuple[Reading, Iterator[Rows]]]) -> None:
        """Write a part: recordings until there are enough."""
        entries: list[dict[str, Any]] = []
        found = groups(tables(_until_enough(recordings, entries)))
        first = next(found)
        with (
            new_file(part) as temporary,
            pq.ParquetWriter(temporary, first.schema, compression="zstd", use_dictionary=["path"]) as file,
        ):
            for table in chain([first], found):
                file.write_table(table, row_group_size=len(table))
            file.add_key_value_metadata({"recordings": json.dumps(entries)})


@contextmanager
def opened(out: Path, options: dict[str, Any]) -> Iterator[Parts]:
    """The parts of an output, in `OUT.parts`; no other process may use them meanwhile.

    Raises `UsageError` where they were made with other options, which it names.
    """
    folder = out.with_name(f"{out.name}.parts")
    with writing(out), lock.held(folder):
        remove_leftovers(folder)
        settings = folder / "options.json"
        if settings.exists():
            _check_same(folder, _read(settings), options)
        else:
            write_text(settings, json.dumps(options))
        yield Parts(folder)


def _read(settings: Path) -> dict[str, Any]:
    try:
        options = json.loads(settings.read_text())
    except ValueError:
        options = None
    if not isinstance(options, dict):
        raise UsageError(f"{settings}: damaged. Remove {settings.parent}, and everything is embedded again.")
    return options


def _check_same(folder: Path, before: dict[str, Any], now: dict[str, Any]) -> None:
    other = [key for key in now if key != "model" and before.get(key) != now[key]]
    if "fingerprint" in other:  # its read-out may be another because of that
        other = ["model"] if before.get("model") != now["model"] else ["fingerprint"]
    if other:
        differ = ", ".join(f"{key} {before.get(key)}, now {now[key]}" for key in other)
        raise UsageError(
            f"--resume: {folder} was made with other options ({differ}). Repeat those, or remove the folder."
        )


def _until_enough(
    recordings: Iterator[tuple[Reading, Iterator[Rows]]], entries: list[dict[str, Any]]
) -> Iterator[Rows]:
    """The rows of a part; `entries` gets what is noted of each recording."""
    begin, total = time.monotonic(), 0
    for reading, parts in recordings:
        count = 0
        for part in parts:
            yield part
            count += len(part.starts)
        noticed = {"remarks": reading.remarks, "high": reading.high, "partial": reading.partial}
        entries.append({"key": reading.recording.state(), "rows": count, "noticed": noticed})
        total += count
        if total >= PART_ROWS or time.monotonic() - begin >= PART_SECONDS:
            return


def _spans(places: Iterable[_Place]) -> Iterator[tuple[Path, int, int]]:
    """Part, first row and the row after the last, of recordings; neighbours together."""
    span: tuple[Path, int, int] | None = None
    for place in places:
        if span is not None and (span[0], span[2]) == (place.part, place.first):
            span = span[0], span[1], span[2] + place.rows
            continue
        if span is not None:
            yield span
        span = place.part, place.first, place.first + place.rows
    if span is not None:
        yield span


def _group_ends(part: Path) -> list[int]:
    about = pq.read_metadata(part)
    return list(accumulate(about.row_group(number).num_rows for number in range(about.num_row_groups)))


def _group(part: Path, number: int) -> pa.Table:
    with pq.ParquetFile(part) as file:
        return file.read_row_group(number)
