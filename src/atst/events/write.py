"""Events written as tables that Raven and Audacity open, and as the library's own."""

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from atst.errors import UsageError
from atst.events.event import Event, by_recording
from atst.output.atomic import new_file
from atst.output.text import path_text

RAVEN = ("Selection", "View", "Channel", "Begin Time (s)", "End Time (s)", "Low Freq (Hz)", "High Freq (Hz)")
OWN = ("path", "start", "end", "label", "low", "high", "channel", "confidence", "source", "line")
ENDINGS = {"raven": ".Table.1.selections.txt", "audacity": ".txt"}


def write_tables(events: Iterable[Event], program: str, folder: Path) -> list[Path]:
    """Write a table for each recording into `folder`, named after it, for `raven` or `audacity`.

    Recordings of one name in several folders have theirs in subfolders of the same names.
    """
    of, written = by_recording(events), []
    for path, name in _names(list(of)).items():
        out = folder / (name + ENDINGS[program])
        lines = raven_lines(of[path]) if program == "raven" else audacity_lines(of[path])
        with new_file(out) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
            stream.writelines(f"{line}\n" for line in lines)
        written.append(out)
    return written


def raven_lines(events: Sequence[Event]) -> Iterator[str]:
    """A selection table: header and a row an event; without frequencies it is in the waveform view."""
    confident = any(event.confidence is not None for event in events)
    extra = ("Confidence",) if confident else ()
    yield "\t".join((*RAVEN, "Begin File", "Annotation", *extra))
    for count, event in enumerate(events, 1):
        view = "Waveform 1" if event.low is None and event.high is None else "Spectrogram 1"
        numbers = (event.start, event.end, event.low, event.high)
        cells = [str(count), view, str(event.channel or 1), *map(plain, numbers)]
        cells += [path_text(Path(event.path.name)), one_line(event.label)]
        yield "\t".join(cells + ([plain(event.confidence)] if confident else []))


def audacity_lines(events: Iterable[Event]) -> Iterator[str]:
    """A label track: begin, end and label; low and high, where known, in a line of their own."""
    for event in events:
        cells = [plain(event.start), plain(event.end), one_line(event.label)]
        yield "\t".join(cells + ([plain(event.confidence)] if event.confidence is not None else []))
        if event.low is not None or event.high is not None:
            band = ("-1" if bound is None else plain(bound) for bound in (event.low, event.high))
            yield "\t".join(["\\", *band])


def plain(value: float | None) -> str:
    """A number with all its digits and without an exponent; nothing for None."""
    return "" if value is None else np.format_float_positional(value, trim="0")


def one_line(label: str) -> str:
    """The label without tabs and line ends, which would end the cell."""
    return re.sub(r"[\t\r\n]+", " ", label)


def own_row(event: Event, name: str) -> list[object]:
    """A row of the library's own table, in which the recording is called `name`."""
    numbers = [plain(event.start), plain(event.end), event.label, plain(event.low), plain(event.high)]
    rest = ["" if event.channel is None else event.channel, plain(event.confidence)]
    return [name, *numbers, *rest, path_text(event.source), event.line]


def relative(path: Path, out: Path) -> str:
    """A recording as a table at `out` names it: relative if it is below the table's folder, else in full."""
    real, folder = Path(os.path.abspath(path)), Path(os.path.abspath(out)).parent  # noqa: PTH100 - keeps links
    return path_text(real.relative_to(folder) if real.is_relative_to(folder) else real)


def _names(paths: list[Path]) -> dict[Path, str]:
    """What each recording's table is called: its stem, with its folder or suffix where others share it."""
    stems = [path.stem for path in paths]
    if len(set(stems)) == len(stems):
        return {path: path.stem for path in paths}
    common = os.path.commonpath([path.parent for path in paths])
    below = {path: str(path.relative_to(common).with_suffix("")) for path in paths}
    if len(set(below.values())) == len(paths):
        return below
    names = {path: str(path.relative_to(common)) for path in paths}
    if len(set(names.values())) < len(paths):
        raise UsageError("two recordings have the same path: their tables would be one.")
    return names
