"""Sonic Visualiser's layers: .svl counts frames; its CSV has no header and does not say which layer it is."""

from xml.etree.ElementTree import Element

from atst.events.event import Options, Refused, Row, Table
from atst.events.text import NUMBER, number, quoted_rows, split_lines

KINDS = {"region": "regions", "box": "boxes", "note": "notes", "text": "text"}


def read_svl(root: Element) -> Table:
    """The points, regions, boxes or notes of a layer. Raises `Refused`."""
    models = [model for model in root.iter("model") if model.get("type") == "sparse"]
    if len(models) != 1:
        text = f"it holds {len(models)} layers of events: export one layer as .svl."
        raise Refused("not a layer of events", text)
    model = models[0]
    kind = KINDS.get(model.get("subtype", ""), "instants" if model.get("dimensions") == "1" else "values")
    if kind == "values":
        raise Refused("not a layer of events", "it is a layer of values over time, not of events.")
    rate = number(model.get("sampleRate", ""), "sampleRate", 1)
    if rate <= 0:
        raise Refused("not a number", f"sampleRate '{model.get('sampleRate')}' must be more than 0.")
    hertz = model.get("units") == "Hz"
    table = Table("Sonic Visualiser", [])
    for count, point in enumerate(root.iter("point"), 1):
        begin = number(point.get("frame", ""), "frame", count) / rate
        row = Row(count, begin, begin, (point.get("label") or "").strip())
        row.end = begin + number(point.get("duration", "0"), "duration", count) / rate
        if kind == "boxes" and hertz:
            row.low = number(point.get("value", ""), "value", count)
            row.high = row.low + number(point.get("extent", ""), "extent", count)
        table.rows.append(row)
    return table


def is_layer_csv(line: str) -> bool:
    """Whether this first line has two cells or more, commas between, the first a number."""
    cells = line.split(",")
    return len(cells) > 1 and bool(NUMBER.fullmatch(cells[0].strip()))


def read_layer_csv(text: str, options: Options) -> Table:
    """The lines of a layer that was exported as CSV, read as `options.layer` says. Raises `Refused`."""
    if options.layer is None:
        words = "if it is a layer of Sonic Visualiser, say which by --layer regions, boxes or notes"
        raise Refused("layer not named", f"numbers without a header: {words}.")
    width = 3 if options.layer == "regions" else 4
    table = Table("Sonic Visualiser", [])
    for line, cells in quoted_rows(enumerate(split_lines(text), 1), ","):
        if not any(cells):
            continue
        if len(cells) not in (width, width + 1):
            words = f"{len(cells)} cells where --layer {options.layer} has {width} numbers and a label"
            raise Refused("row longer than the header", f"{words}.", line)
        values = [number(cell, "cell", line) for cell in cells[:width]]
        label = cells[width] if len(cells) > width else ""
        row = Row(line, values[0], values[1], label)
        if options.layer == "boxes":
            row.low, row.high = values[2], values[3]
        else:  # time, value, duration
            row.end = values[0] + values[2]
        table.rows.append(row)
    return table
