"""An event, the table it stands in, and why a table is refused."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from atst.errors import AtstError


class Refused(AtstError):
    """A table, or a line of it, that cannot be read with certainty: all of it is left out.

    `reason` is what the summary counts by, some words; the text says which column and value and what helps.
    """

    def __init__(self, reason: str, text: str, line: int | None = None) -> None:
        super().__init__(text)
        self.reason = reason
        self.line = line


@dataclass(slots=True)
class Row:
    """A line of a table as it stands there: times in seconds, which may run on over several recordings."""

    line: int
    begin: float  # NaN where the cell is blank
    end: float
    label: str = ""
    recording: str = ""  # as the table names it; nothing: the table's own name tells
    low: float | None = None  # Hz
    high: float | None = None
    channel: int | None = None
    confidence: float | None = None
    offset: float | None = None  # of its begin from the start of its recording
    end_recording: str = ""
    selection: str = ""
    view: str = ""


@dataclass
class Table:
    """The rows of one file, and what else it says."""

    format: str
    rows: list[Row]
    without_events: list[str] = field(default_factory=list)  # recordings that it says have none
    merged: int = 0  # rows that were further views of a selection
    notes: list[str] = field(default_factory=list)
    recordings: list[str] = field(default_factory=list)  # names that may stand for its own, best first
    running: bool = False  # whether times may run on over its recordings


@dataclass(frozen=True)
class Options:
    """What a user says of the tables; each settles what they leave open."""

    label_column: str | None = None  # or a tier
    one_class: str | None = None
    min_confidence: float | None = None
    layer: str | None = None  # of Sonic Visualiser's CSV: regions, boxes, notes
    order: tuple[str, ...] = ()  # the names of all recordings that the times run over
    padding: float = 3.0  # s by which an end may exceed its recording's: detectors pad the last stretch


@dataclass(slots=True)
class Event:
    """A sound in a recording: seconds from its start, Hz, a label that may be empty."""

    path: Path
    start: float
    end: float
    label: str
    low: float | None
    high: float | None
    channel: int | None
    confidence: float | None
    source: Path
    line: int


def by_recording(events: Iterable[Event]) -> dict[Path, list[Event]]:
    """The events of each recording."""
    found: dict[Path, list[Event]] = {}
    for event in events:
        found.setdefault(event.path, []).append(event)
    return found


def choose_tier(tiers: list[tuple[str, list[Row]]], options: Options) -> list[Row]:
    """The rows of the tier that the user names, else of the only one with any. Raises `Refused`."""
    names = ", ".join(f"'{name}' ({len(rows)})" for name, rows in tiers) or "none"
    if options.label_column is not None:
        selected = [rows for name, rows in tiers if name == options.label_column]
        if len(selected) == 1:
            return selected[0]
        what = "several tiers are" if selected else "no tier is"
        text = f"{what} called '{options.label_column}' (--label-column); there are: {names}."
        raise Refused("no such label column", text)
    filled = [rows for _, rows in tiers if rows]
    if len(filled) > 1:
        raise Refused("several tiers", f"several tiers have events: {names}; choose one by --label-column.")
    return filled[0] if filled else []
