"""Audacity's label tracks: lines of begin, end and label, tabs between, and BirdNET's with a confidence."""

import re

from atst.events.event import Refused, Row, Table
from atst.events.text import NUMBER, decimal_comma, number, split_lines

OPEN = -1.0  # stands for a frequency that has no bound
# How BirdNET names a species in one cell: "Turdus merula, Eurasian Blackbird", later with an underscore.
SPECIES = re.compile(r"[A-Z][a-z]+(?: [a-z][a-z-]+){1,2}(?:, |_)(.+)")
LONGEST = 200  # characters of a name: longer labels are something else
TWICE = re.compile(r"(.+)(?:, |_)\1")  # "Engine_Engine": what has no scientific name


def is_audacity(line: str) -> bool:
    """Whether this first line is that of a label track: a number, a tab, and something."""
    first, tab, _ = line.partition("\t")
    return bool(tab and NUMBER.fullmatch(first.strip().replace(",", ".")))


def read_audacity(text: str) -> Table:
    """The labels of a label track. Raises `Refused`."""
    lines = [(i, line.split("\t")) for i, line in enumerate(split_lines(text), 1) if line.strip()]
    labels = [(i, [cell.strip() for cell in cells]) for i, cells in lines if not cells[0].startswith("\\")]
    two = [cells for _, cells in labels if len(cells) == 2]
    points = any(not _is_number(cells[1]) for cells in two)
    times = [cells[0] for _, cells in labels]
    times += [cells[1] for _, cells in labels if len(cells) > 2 or (len(cells) == 2 and not points)]
    comma = decimal_comma(times, "\t")
    if two and not points:
        _check_regions(labels, comma)
    detector = bool(labels) and all(len(cells) == 4 and _is_share(cells[3]) for _, cells in labels)
    table = Table("Audacity", [])
    for line, cells in lines:
        if cells[0].startswith("\\"):
            _add_band(table, [cell.strip() for cell in cells], line, comma)
            continue
        row = _label([cell.strip() for cell in cells], line, points, detector, comma)
        table.rows.append(row)
    if detector:
        _birdnet(table)
    return table


def _label(cells: list[str], line: int, points: bool, detector: bool, comma: bool) -> Row:
    begin = number(cells[0], "begin", line, comma)
    if len(cells) == 2 and points:
        return Row(line, begin, begin, cells[1])
    if len(cells) < 2 or not cells[1]:
        raise Refused(
            "blank time", "the label has no end: write begin, end and label with tabs between.", line
        )
    end = number(cells[1], "end", line, comma)
    surplus = [cell for cell in cells[4 if detector else 3 :] if cell]
    if surplus:
        text = f"'{surplus[0]}' is one cell too many after begin, end and label."
        raise Refused("row longer than the header", text, line)
    confidence = float(cells[3]) if detector else None
    return Row(line, begin, end, cells[2] if len(cells) > 2 else "", confidence=confidence)


def _add_band(table: Table, cells: list[str], line: int, comma: bool) -> None:
    if not table.rows or len(cells) != 3 or table.rows[-1].view == "band":
        raise Refused(
            "stray line", "a line that starts with \\ gives low and high of the label before it.", line
        )
    row = table.rows[-1]
    row.view = "band"
    low, high = number(cells[1], "low", line, comma), number(cells[2], "high", line, comma)
    row.low, row.high = (None if value == OPEN else value for value in (low, high))


def _check_regions(labels: list[tuple[int, list[str]]], comma: bool) -> None:
    """Two numbers a line are regions if none ends before it begins; else nobody knows."""
    for line, cells in labels:
        if len(cells) == 2 and number(cells[1], "end", line, comma) < number(cells[0], "begin", line, comma):
            text = f"the second number ({cells[1]}) is below the first: a list of beats, not of regions."
            raise Refused("list of beats", text, line)


def _birdnet(table: Table) -> None:
    shortened = False
    for row in table.rows:
        found = len(row.label) <= LONGEST and (SPECIES.fullmatch(row.label) or TWICE.fullmatch(row.label))
        if found:
            row.label, shortened = found[1], True
    if shortened:
        table.notes.append("labels are BirdNET's common names alone")
    table.without_events += ["" for row in table.rows if row.label.casefold() == "nocall"]
    table.rows = [row for row in table.rows if row.label.casefold() != "nocall"]


def _is_number(text: str) -> bool:
    return bool(NUMBER.fullmatch(text.replace(",", ".")))


def _is_share(text: str) -> bool:
    return bool(NUMBER.fullmatch(text)) and 0 <= float(text) <= 1
