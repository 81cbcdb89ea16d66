"""A table's times become times within its recordings, proven or refused."""

from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path

from atst.events.event import Event, Options, Refused, Row, Table
from atst.events.recordings import Recordings

SAME = 0.01  # s: a File Offset is rounded
CLOSE = 1e-6  # s: less is arithmetic


@dataclass
class Placed:
    """The events of one table, where they are."""

    events: list[Event] = field(default_factory=list)
    empty: list[Path] = field(default_factory=list)  # recordings that the table says have no events
    cut: int = 0  # events whose end lay beyond their recording's
    swapped: int = 0  # low and high frequency
    notes: list[str] = field(default_factory=list)


def place(source: Path, table: Table, recordings: Recordings, options: Options) -> Placed:
    """The events of `table`, read from `source`. Raises `Refused`."""
    placed = Placed()
    paths = _paths(source, table, recordings)
    for row in table.rows:
        _check_times(row)
    if table.running:
        placed.notes += _unroll(source, table.rows, paths, recordings, options)
    for row in table.rows:
        path = paths[row.recording]
        placed.notes += _channel_notes(row, recordings.info(path).channels)
        start, end = _within(row, path, recordings.seconds(path, row.end), options, placed)
        low, high = row.low, row.high
        if low is not None and high is not None and low > high:
            low, high = high, low
            placed.swapped += 1
        placed.events.append(
            Event(path, start, end, row.label, low, high, row.channel, row.confidence, source, row.line)
        )
    named = [paths[name] for name in table.without_events]
    placed.empty = named if table.rows or named else [recordings.of_table(source, table)]
    return placed


def _paths(source: Path, table: Table, recordings: Recordings) -> dict[str, Path]:
    """The file that each name in the table means."""
    paths: dict[str, Path] = {}
    lines = {row.recording: row.line for row in reversed(table.rows)}
    for name in dict.fromkeys([*(row.recording for row in table.rows), *table.without_events]):
        if table.format == "own":
            paths[name] = source.parent / name
        elif name:
            paths[name] = recordings.find(name, source, lines.get(name))
        else:
            paths[name] = recordings.of_table(source, table)
    return paths


def _check_times(row: Row) -> None:
    if row.begin < 0 or row.end < 0:
        raise Refused(
            "negative time", f"begin {row.begin:g} s, end {row.end:g} s: no time is below 0.", row.line
        )
    if row.end < row.begin:
        text = f"its end, {row.end:g} s, is before its begin, {row.begin:g} s."
        raise Refused("end before begin", text, row.line)


def _unroll(
    source: Path, rows: list[Row], paths: dict[str, Path], recordings: Recordings, options: Options
) -> list[str]:
    """Change times that run on over several recordings into times within each; returns what to say of it."""
    with_offset = [row for row in rows if row.offset is not None]
    if with_offset:
        without = next((row for row in rows if row.offset is None), None)
        if without is not None:
            raise Refused(
                "blank File Offset", "File Offset is blank where other rows have one.", without.line
            )
        for row in rows:
            offset = row.offset or 0.0
            if offset < 0:
                raise Refused("negative time", f"File Offset {offset:g} s is below 0.", row.line)
            if abs(offset - row.begin) > SAME + CLOSE:
                row.begin, row.end = offset, offset + (row.end - row.begin)
        return []
    names = list(dict.fromkeys(row.recording for row in rows))
    if len(names) < 2:
        return []
    lengths = {name: recordings.seconds(paths[name]) for name in names}
    if _within_proven(rows, lengths):
        return [f"times of {len(names)} recordings are within each, which its rows prove"]
    if not options.order:
        text = f"times may run on over {len(names)} recordings and no File Offset tells"
        raise Refused(
            "times may run on", f"{text}: list all recordings in their order in a file, --order FILE."
        )
    starts = _starts(source, paths, recordings, options)
    for row in rows:
        start = starts[paths[row.recording]]
        if not start - SAME <= row.begin <= start + lengths[row.recording] + SAME:
            text = (
                f"begin {row.begin:g} s is not in '{row.recording}', which by --order runs from {start:g} s"
            )
            raise Refused("not in this order", f"{text} to {start + lengths[row.recording]:g} s.", row.line)
        row.begin, row.end = max(0.0, row.begin - start), max(0.0, row.end - start)
    return []


def _within_proven(rows: list[Row], lengths: dict[str, float]) -> bool:
    """Whether a running order is impossible: of two recordings each has an event before the other could end.

    Then one of them would have to come before itself; and every event ends within its own recording.
    """
    first: dict[str, float] = {}
    for row in rows:
        if row.end > lengths[row.recording] + SAME:
            return False
        first[row.recording] = min(row.begin, first.get(row.recording, row.begin))
    early = sorted(first, key=lambda name: first[name])
    return any(
        first[a] < lengths[b] - SAME and first[b] < lengths[a] - SAME for a, b in combinations(early, 2)
    )


def _starts(
    source: Path, paths: dict[str, Path], recordings: Recordings, options: Options
) -> dict[Path, float]:
    """When each recording of the user's order begins in the running time."""
    starts: dict[Path, float] = {}
    time = 0.0
    for name in options.order:
        path = recordings.find(name, source)
        starts[path] = time
        time += recordings.seconds(path)
    for name, path in paths.items():
        if path not in starts:
            raise Refused("not in this order", f"recording '{name}' is not in the list of --order.")
    return starts


def _channel_notes(row: Row, channels: int) -> list[str]:
    """What to say of a channel that is not all there is to hear."""
    if row.channel is None or row.channel == channels == 1:
        return []
    if row.channel > channels:
        return [f"channel {row.channel} of a recording that has {channels}"]
    return [f"channel {row.channel} of {channels}: their mean is heard unless --channel (from 0) names one"]


def _within(row: Row, path: Path, seconds: float, options: Options, placed: Placed) -> tuple[float, float]:
    """Start and end of a row, cut to its recording. Raises `Refused`."""
    begin, end = row.begin, row.end
    if begin > seconds + SAME:
        where = f"begin {begin:g} s is beyond the end of {path}, {seconds:g} s"
        text = f"{where}: times seem to run on over several files, or it is another recording."
        raise Refused("begin beyond the recording", text, row.line)
    if end > seconds + SAME:
        goes_on = row.end_recording not in ("", row.recording)
        if not goes_on and end > seconds + options.padding + CLOSE:
            text = f"end {end:g} s is {end - seconds:g} s beyond the end of {path}, {seconds:g} s."
            raise Refused("end beyond the recording", text, row.line)
        placed.cut += 1
    elif row.end_recording not in ("", row.recording) and row.recording:
        placed.cut += 1
        end = seconds
    return min(begin, seconds), min(end, seconds)
