"""Segments: rows of a table that are a stretch of their file, from `start` to `end` in seconds."""

import math
from collections.abc import Sequence
from pathlib import Path

from atst.corpus.headers import lengths
from atst.corpus.listing import listing_of
from atst.errors import AudioError, UsageError
from atst.output.progress import track
from atst.sound import isolated
from atst.sound.audio import SAMPLE_RATE
from atst.sound.manifest import seconds_of
from atst.sound.recording import Recording

Segment = tuple[float, float]  # start and end in s
WHOLE = (0.0, math.inf)
BEYOND = 1.0  # s that a segment may end after its recording: annotation programs round up
SHORTEST = 1e-3  # s: less is the rounding of a table, not sound


def parse(where: str, start: str, end: str) -> Segment:
    """The segment in two cells; two empty ones mean the whole file. Raises `UsageError` for anything else."""
    first, last = seconds_of(where, "start", start), seconds_of(where, "end", end)
    if first is None and last is None:
        return WHOLE
    if first is None or last is None:
        raise UsageError(
            f"{where}: one of 'start' and 'end' is empty; give both, or none for the whole file."
        )
    if first == last:
        raise UsageError(
            f"{where}: start and end are both {start} s, a point; atst annotations --window turns "
            "points into windows."
        )
    if last < first:
        raise UsageError(f"{where}: end {end} s is before start {start} s.")
    return first, last


def description(segment: Segment) -> str:
    """The segment for messages."""
    return "the whole file" if segment == WHOLE else f"{segment[0]:g} to {segment[1]:g} s"


def cut_to_files(
    table: Path, files: Sequence[Path], segments: Sequence[Segment], lines: Sequence[int]
) -> tuple[list[Segment], list[str]]:
    """The segments, those that end just beyond their file cut to its end, and a warning that counts them.

    Unreadable files are ignored here; reading them reports them. Raises `UsageError` naming the line of
    a segment that starts beyond its file, or ends a second or more beyond it.
    """
    cut = list(segments)
    by_file: dict[Path, list[int]] = {}
    for row, (file, segment) in enumerate(zip(files, segments, strict=True)):
        if segment != WHOLE:
            by_file.setdefault(file, []).append(row)
    beyond = []
    headers, _ = lengths(listing_of(table, map(Recording, by_file)), track)  # s, estimates; NaN: unreadable
    for (file, rows), seconds in zip(by_file.items(), headers.tolist(), strict=True):
        try:
            ends = [(row, _end(file, segments[row])) for row in rows if segments[row][1] > seconds]
        except AudioError:
            continue
        for row, there in ends:
            start, end = segments[row]
            if there - start < SHORTEST or end - there >= BEYOND:
                raise UsageError(
                    f"{table}, line {lines[row]}: {description(segments[row])} is beyond the end of {file}, "
                    f"{there:.2f} s."
                )
            if end - there > SHORTEST:
                cut[row] = (start, there)
                beyond.append(end - there)
    if not beyond:
        return cut, []
    count = "1 segment ends" if len(beyond) == 1 else f"{len(beyond)} segments end"
    return cut, [f"{count} up to {max(beyond):.2f} s beyond the recording; cut to its end."]


def _end(file: Path, segment: Segment) -> float:
    """Where the sound of a segment really ends, in seconds. Raises `AudioError`."""
    start, end = segment
    try:
        return start + len(isolated.read(file, start, end - start)) / SAMPLE_RATE
    except AudioError:
        if start > 0 and start >= (seconds := isolated.info(file).seconds):
            return seconds
        raise
