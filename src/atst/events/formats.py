"""Which program wrote a file: told by its content, never by its name."""

from pathlib import Path

from atst.events.audacity import is_audacity, read_audacity
from atst.events.elan import read_elan
from atst.events.event import Options, Refused, Table
from atst.events.headed import form_of, read_headed
from atst.events.praat import is_textgrid, read_textgrid
from atst.events.sonic_visualiser import is_layer_csv, read_layer_csv, read_svl
from atst.events.text import decode, header_of, read_text, split_lines
from atst.events.xml import parse

HEAD = 4096  # bytes that tell a table from other files


def read_table(path: Path, options: Options) -> Table:
    """The rows of an annotation file. Raises `Refused`."""
    text, notes = read_text(path)
    table = _read(text, options)
    table.notes += notes
    return table


def _read(text: str, options: Options) -> Table:
    first = _first_line(text)
    kind = _kind(text)
    if kind == "TextGrid":
        return read_textgrid(text, options)
    if kind == "XML":
        root = parse(text)
        if root.tag == "ANNOTATION_DOCUMENT":
            return read_elan(root, options)
        if root.tag == "sv":
            return read_svl(root)
        raise Refused("not an annotation table", f"its XML is a <{root.tag}>, neither ELAN's nor a layer.")
    if kind == "label track":
        return read_audacity(text)
    if kind == "table":
        form = form_of(header_of(first)[0])
        assert form is not None, "it was told by its form"
        return read_headed(text, form, options)
    if kind == "layer":
        return read_layer_csv(text, options)
    if not first:
        raise Refused("empty", "it is empty; a table without events has at least its header.")
    shown = first if len(first) <= 60 else f"{first[:60]}..."
    raise Refused("not an annotation table", f"no known table begins like this: '{shown}'.", 1)


def _kind(text: str) -> str:
    first = _first_line(text)
    if is_textgrid(text):
        return "TextGrid"
    if first.startswith("<"):
        return "XML"
    if is_audacity(first):
        return "label track"
    if form_of(header_of(first)[0]) is not None:
        return "table"
    return "layer" if is_layer_csv(first) else ""


def _first_line(text: str) -> str:
    return next((line.strip("\ufeff ") for line in split_lines(text) if line.strip()), "")


def is_annotation(path: Path, layers: bool = False) -> bool:
    """Whether a file begins as those of annotation programs do.

    The library's own table is none of them; bare numbers between commas count only with `layers`.
    """
    try:
        with path.open("rb") as stream:
            text, _ = decode(stream.read(HEAD))
    except (OSError, Refused):
        return False
    kind = _kind(text)
    if kind == "table":
        form = form_of(header_of(_first_line(text))[0])
        return form is not None and form.name != "own"
    if kind == "XML":
        return "<ANNOTATION_DOCUMENT" in text or "<sv>" in text
    return kind in ("TextGrid", "label track") or (layers and kind == "layer")
