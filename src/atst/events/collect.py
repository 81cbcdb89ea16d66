"""All annotation files that a user names become one list of events, and a list of what was refused."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from atst.errors import CorpusError
from atst.events.event import Event, Options, Refused, Table
from atst.events.formats import is_annotation, read_table
from atst.events.place import place
from atst.events.recordings import Recordings
from atst.output.skipped import Skipped
from atst.sound.walk import has_other_name, walk


@dataclass
class Annotations:
    """What was read and what was not."""

    events: list[Event] = field(default_factory=list)  # with a label, in the order of the files
    doubtful: list[Event] = field(default_factory=list)  # without label, or a detector's too weak ones
    recordings: set[Path] = field(default_factory=set)  # that were annotated, with events or not
    read: int = 0  # files
    other: list[Path] = field(default_factory=list)  # in the folders, but no annotation files
    unsearched: list[Skipped] = field(default_factory=list)  # folders that may hold recordings, pipes
    refused: list[tuple[Path, Refused]] = field(default_factory=list)
    notes: dict[str, list[Path]] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)  # merged, cut, swapped, doubled, unlabelled, weak

    def note(self, text: str, source: Path) -> None:
        """Say something about a file."""
        self.notes.setdefault(text, []).append(source)


def collect(sources: Sequence[Path], options: Options, recordings: Recordings) -> Annotations:
    """The events of files, and of the annotation files in folders. Raises `CorpusError`."""
    result = Annotations()
    seen: dict[tuple[Path, float, float, str], Path] = {}
    for source in _files(sources, options, result):
        try:
            table = read_table(source, options)
            _check(table, options)
            placed = place(source, table, recordings, options)
        except Refused as refusal:
            result.refused.append((source, refusal))
            continue
        result.read += 1
        result.counts.update(merged=table.merged, cut=placed.cut, swapped=placed.swapped)
        result.recordings |= {event.path for event in placed.events} | set(placed.empty)
        for text in dict.fromkeys((*table.notes, *placed.notes)):
            result.note(text, source)
        for event in placed.events:
            _add(event, options, seen, result)
    found_already = {os.fspath(path) for path, _ in result.refused}
    result.unsearched = [entry for entry in recordings.skipped if entry[0] not in found_already]
    if not result.read and not result.refused:
        raise CorpusError(f"no annotation files in {', '.join(map(str, sources))}.")
    return result


def _files(sources: Iterable[Path], options: Options, result: Annotations) -> Iterator[Path]:
    seen: set[str] = set()
    folders: set[str] = set()
    for source in sources:
        if source.is_dir():
            found: list[Path] = []
            skipped: list[Skipped] = []
            for path in map(Path, walk(source, skipped, folders, has_other_name)):
                fits = is_annotation(path, layers=options.layer is not None)
                (found if fits else result.other).append(path)
            result.refused += [(Path(path), Refused("not read", reason)) for path, reason in skipped]
        else:
            found = [source]
        for path in found:
            real = os.path.realpath(path)
            if real not in seen:
                seen.add(real)
                yield path


def _check(table: Table, options: Options) -> None:
    """Refuse what the user must tell: which of a detector's results count, what unnamed events are."""
    first = next((row for row in table.rows if row.confidence is not None), None)
    if first is not None and options.min_confidence is None and table.format != "own":
        help = "say by --min-confidence C what to take (0: all)"
        text = f"Confidence {first.confidence:g}: a detector's; {help}."
        raise Refused("confidence without --min-confidence", text, first.line)
    if table.rows and options.one_class is None and not any(row.label for row in table.rows):
        raise Refused("no label", "no event has a label: give every one a class by --one-class.")


def _add(
    event: Event, options: Options, seen: dict[tuple[Path, float, float, str], Path], result: Annotations
) -> None:
    """Sort an event in; the same one in another file counts once."""
    if event.confidence is not None and event.confidence < (options.min_confidence or 0):
        result.counts["weak"] += 1
        event.label = ""
        result.doubtful.append(event)
        return
    event.label = options.one_class or event.label
    if not event.label:
        result.counts["unlabelled"] += 1
        result.doubtful.append(event)
    elif seen.setdefault((event.path, event.start, event.end, event.label), event.source) != event.source:
        result.counts["doubled"] += 1
    else:
        result.events.append(event)
