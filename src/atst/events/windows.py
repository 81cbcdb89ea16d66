"""Events become labelled windows of their recordings."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from atst.events.event import Event, by_recording
from atst.sound.windows import SHORTEST_TAIL

OVERLAP = 0.25  # s of an event that make a window positive
SHARE = 0.5  # of an event that does, where it is shorter
CLOSE = 1e-9  # s


@dataclass(slots=True)
class Labelled:
    """A window and what is heard in it, sorted; several labels make the task multi-label."""

    path: Path
    start: float
    end: float
    labels: list[str]


@dataclass
class Windows:
    """The windows that are certain, and how many are not."""

    rows: list[Labelled] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)  # unsure, doubtful, silent


def label_windows(
    events: Iterable[Event],
    doubtful: Iterable[Event],
    lengths: Mapping[Path, float],
    window: float,
    hop: float,
    background: str | None = None,
) -> Windows:
    """Windows of `window` seconds every `hop` seconds of the annotated recordings, whose lengths are given.

    A class is positive where one of its events overlaps a window by 0.25 s or by half of the event, and in
    the window that has most of it; a point is where it falls, a window's end not included. A window with less
    than that of a class is left out as unsure. One that no event touches is `background`, if that is named;
    a `doubtful` event, which has no label, gives no class but its windows are no background either.
    """
    of, unclear = by_recording(events), by_recording(doubtful)
    result = Windows()
    for path in sorted(lengths):
        spans = _spans(lengths[path], window, hop)
        sure: list[set[str]] = [set() for _ in spans]
        touched: list[set[str]] = [set() for _ in spans]
        for event in of.get(path, []):
            _judge(event, spans, window, hop, sure, touched)
        unlabelled: list[set[str]] = [set() for _ in spans]
        for event in unclear.get(path, []):
            _judge(event, spans, window, hop, unlabelled, unlabelled)
        for (start, end), classes, near, doubt in zip(spans, sure, touched, unlabelled, strict=True):
            if near - classes:
                result.counts["unsure"] += 1
            elif classes:
                result.rows.append(Labelled(path, start, end, sorted(classes)))
            elif doubt:
                result.counts["doubtful"] += 1
            elif background is not None:
                result.rows.append(Labelled(path, start, end, [background]))
            else:
                result.counts["silent"] += 1
    return result


def _spans(seconds: float, window: float, hop: float) -> list[tuple[float, float]]:
    """As recordings are cut everywhere: until a window reaches the end; the last may be shorter."""
    count = 1 + max(0, math.ceil((seconds - window - SHORTEST_TAIL) / hop))
    starts = [number * hop for number in range(count)]
    return [(start, min(start + window, seconds)) for start in starts]


def _judge(
    event: Event,
    spans: list[tuple[float, float]],
    window: float,
    hop: float,
    sure: list[set[str]],
    touched: list[set[str]],
) -> None:
    """Mark the windows that an event touches, and those that it makes positive."""
    first = max(0, math.floor((event.start - window) / hop))
    last = min(len(spans), math.floor(event.end / hop) + 2)
    overlaps = [(_overlap(event, spans[i], i == len(spans) - 1), i) for i in range(first, last)]
    overlaps = [(overlap, i) for overlap, i in overlaps if overlap > CLOSE]
    if not overlaps:
        return
    enough = min(OVERLAP, SHARE * (event.end - event.start))
    most = max(overlap for overlap, _ in overlaps)
    for overlap, i in overlaps:
        touched[i].add(event.label)
        if overlap >= min(enough, most) - CLOSE:
            sure[i].add(event.label)


def _overlap(event: Event, span: tuple[float, float], last: bool) -> float:
    """Seconds; of a point 1 in a window that holds it, which is open at its end unless it is the last."""
    start, end = span
    if event.end == event.start:
        return float(start <= event.start < end or (last and event.start == end))
    return min(event.end, end) - max(event.start, start)
