"""Tables with a header: Raven's, BirdNET's, Kaleidoscope's, DCASE's and the library's own."""

import math
import re
from dataclasses import dataclass

from atst.events.event import Options, Refused, Row, Table
from atst.events.text import Grid, decimal_comma, key, number, read_grid
from atst.events.views import merge_views


@dataclass(frozen=True)
class Form:
    """Which columns tell a table's kind and hold its times."""

    name: str
    start: tuple[str, ...]
    end: tuple[str, ...]
    needs: tuple[str, ...] = ()
    length: bool = False  # whether `end` holds a duration
    running: bool = False


FORMS = (
    Form("Raven", ("Begin Time (s)", "Begin Time"), ("End Time (s)", "End Time"), running=True),
    Form("Kaleidoscope", ("OFFSET",), ("DURATION",), needs=("IN FILE",), length=True),
    Form("DCASE", ("onset",), ("offset",)),
    Form("BirdNET", ("Start (s)",), ("End (s)",)),
    Form("own", ("start",), ("end",), needs=("path", "label")),
    Form("table", ("start", "Start Time", "Starttime"), ("end", "End Time", "Endtime")),
)
FIELDS = {  # of a row, and the columns that hold them
    "low": ("Low Freq (Hz)", "Low Freq", "low"),
    "high": ("High Freq (Hz)", "High Freq", "high"),
    "channel": ("Channel",),
    "confidence": ("Confidence",),
    "offset": ("File Offset (s)", "File Offset"),
    "selection": ("Selection",),
    "view": ("View",),
    "end_recording": ("End File",),
}
TEXTS = ("selection", "view", "end_recording")
FILES = (
    *("Begin File", "Begin Path", "File", "Filename", "File Name", "IN FILE", "filepath"),
    *("Audiofilename", "sound.files", "path"),
)
LABELS = (
    *("Annotation", "Species", "Label", "Tags", "Class", "Call type", "Sound type", "Type", "Common Name"),
    "event_label",  # DCASE's name for it
)


def form_of(header: list[str]) -> Form | None:
    """What kind of table these columns make; None: none that is known."""
    there = {key(name) for name in header}
    for form in FORMS:
        needed = all(key(name) in there for name in form.needs)
        if needed and any(key(n) in there for n in form.start) and any(key(n) in there for n in form.end):
            return form
    return None


def read_headed(text: str, form: Form, options: Options) -> Table:
    """The table of a text with the header of `form`. Raises `Refused`."""
    grid = read_grid(text)
    at = _columns(grid, form)
    times = [cells[at[name]] for _, cells in grid.rows for name in ("begin", "end", "offset") if name in at]
    comma = decimal_comma(times, grid.separator)
    files = [i for i in map(grid.column, FILES) if i is not None]
    label = _label_column(grid, form, options)
    table = Table(form.name, [], running=form.running)
    for line, cells in grid.rows:
        named = next((cells[i] for i in files if cells[i]), "")
        row = Row(line, math.nan, math.nan, recording=named if form.name == "own" else last_part(named))
        row.label = cells[label] if label is not None else ""
        if _says_nothing(form, grid, row, cells[at["begin"]], cells[at["end"]], label):
            table.without_events.append(row.recording)
        else:
            _fill(row, cells, grid, at, comma)
            row.end += row.begin if form.length else 0.0
            table.rows.append(row)
    if "view" in at and "selection" in at:
        merge_views(table)
    for row in table.rows:
        for value, name in ((row.begin, "begin"), (row.end, "end")):
            if math.isnan(value):
                text = f"{grid.header[at[name]]} is blank: give the event a time or remove the row."
                raise Refused("blank time", text, row.line)
    return table


def _columns(grid: Grid, form: Form) -> dict[str, int]:
    """Where the fields of a row are, as far as the table has them."""
    names = {"begin": form.start, "end": form.end, **FIELDS}
    if not form.running:
        del names["offset"]
    found = {field: grid.column(*spelled) for field, spelled in names.items()}
    return {field: column for field, column in found.items() if column is not None}


def _fill(row: Row, cells: list[str], grid: Grid, at: dict[str, int], comma: bool) -> None:
    for field, column in at.items():
        text = cells[column]
        if field in TEXTS:
            setattr(row, field, last_part(text) if field == "end_recording" else text)
        elif text:
            value = number(text, grid.header[column], row.line, comma)
            setattr(row, field, int(value) if field == "channel" else value)


def last_part(path: str) -> str:
    """A file's name, whichever system's separator its path has."""
    return re.split(r"[\\/]", path)[-1]


def _says_nothing(form: Form, grid: Grid, row: Row, start: str, end: str, label: int | None) -> bool:
    """Whether a row says that its recording has no events: `nocall`, or a name and three blanks."""
    if form.name == "DCASE" and row.recording and not (start or end or row.label):
        return True
    birdnet = label is not None and key(grid.header[label]) == "common name"
    return birdnet and row.label.casefold() == "nocall"


def _label_column(grid: Grid, form: Form, options: Options) -> int | None:
    """Where the labels are, or None where every event is of one class. Raises `Refused`."""
    if options.one_class is not None and form.name != "own":
        return grid.column("Common Name")  # for its rows without a call
    if form.name == "own":
        return grid.column("label")
    columns = ", ".join(grid.header)
    if options.label_column is not None:
        selected = grid.column(options.label_column)
        if selected is None:
            text = f"has no column '{options.label_column}' (--label-column); its columns are: {columns}."
            raise Refused("no such label column", text)
        return selected
    known = {key(name) for name in LABELS}
    there = [i for i, name in enumerate(grid.header) if key(name) in known]
    filled = [i for i in there if any(cells[i] for _, cells in grid.rows)]
    if len(filled) > 1:
        names = " and ".join(f"'{grid.header[i]}'" for i in filled)
        raise Refused(
            "several label columns", f"{names} could each be the label: choose one by --label-column."
        )
    if filled or not grid.rows:
        return next(iter(filled or there), None)
    blank = f"column '{grid.header[there[0]]}' is blank" if there else "no column is known to hold labels"
    help = "name one by --label-column, or give every event one class by --one-class"
    text = f"{blank} (columns: {columns}): {help}."
    raise Refused("no label column", text)
