"""One selection of Raven has a row for each view that it is shown in: one of them is kept."""

import math

from atst.events.event import Refused, Row, Table

SAME = 0.001  # s: views of one selection differ by rounding only


def merge_views(table: Table) -> None:
    """Keep a selection's spectrogram row, else its waveform row, else any with times; count the others.

    Raises `Refused` where the rows of a selection differ in time or label, or one has no times at all.
    """
    if len({_kind(row) for row in table.rows}) < 2 and len({row.view for row in table.rows}) < 2:
        return
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in table.rows:
        groups.setdefault((row.recording, row.selection or f"line {row.line}"), []).append(row)
    kept = [_one(rows) for rows in groups.values()]
    table.merged = len(table.rows) - len(kept)
    table.rows = kept


def _one(rows: list[Row]) -> Row:
    timed = [row for row in rows if not math.isnan(row.begin + row.end)]
    if not timed:
        return rows[0]
    kept = min(timed, key=_kind)
    views = [row.view for row in rows]
    if len(set(views)) < len(views):
        twice = next(view for view in views if views.count(view) > 1)
        lines = ", ".join(str(row.line) for row in rows if row.view == twice)
        text = f"selection {kept.selection} stands twice in view '{twice}' (lines {lines}): renumber it."
        raise Refused("selection twice", text, kept.line)
    for row in timed:
        if max(abs(row.begin - kept.begin), abs(row.end - kept.end)) > SAME + 1e-9:
            times = f"{kept.begin:g} to {kept.end:g} s and {row.begin:g} to {row.end:g} s"
            text = f"selection {kept.selection} has other times in another view ({times}): which is right?"
            raise Refused("views differ", text, row.line)
    labels = sorted({row.label for row in rows if row.label})
    if len(labels) > 1:
        text = f"selection {kept.selection} has two labels, '{labels[0]}' and '{labels[1]}': give it one."
        raise Refused("views differ", text, kept.line)
    kept.label = labels[0] if labels else ""
    return kept


def _kind(row: Row) -> int:
    words = row.view.casefold()
    return 0 if words.startswith("spectrogram") else 1 if words.startswith("waveform") else 2
