"""Which program wrote a file: told by its content, never by its name."""

from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from atst.events.audacity import is_audacity, read_audacity
from atst.events.elan import read_elan
from atst.events.event import Options, Refused, Table
from atst.events.headed import Form, form_of, read_headed
from atst.events.praat import is_textgrid, read_textgrid
from atst.events.sonic_visualiser import is_layer_csv, read_layer_csv, read_svl
from atst.events.text import decode, header_of, read_text, split_lines

HEAD = 4096  # bytes that tell a table from other files


def read_table(path: Path, options: Options) -> Table:
    """The rows of an annotation file. Raises `Refused`."""
    text, notes = read_text(path)
    table = _read(text, options)
    table.notes += notes
    return table


def _read(text: str, options: Options) -> Table:
    kind, first = _kind(text)
    if isinstance(kind, Form):
        return read_headed(text, kind, options)
    if kind == "TextGrid":
        return read_textgrid(text, options)
    if kind == "label track":
        return read_audacity(text)
    if kind == "layer":
        return read_layer_csv(text, options)
    if kind == "XML":
        root = _parsed(text)
        if root.tag == "ANNOTATION_DOCUMENT":
            return read_elan(root, options)
        if root.tag == "sv":
            return read_svl(root)
        raise Refused("not an annotation table", f"its XML is a <{root.tag}>, neither ELAN's nor a layer.")
    if not first:
        raise Refused("empty", "it is empty; a table without events has at least its header.")
    shown = first if len(first) <= 60 else f"{first[:60]}..."
    raise Refused("not an annotation table", f"no known table begins like this: '{shown}'.", 1)


def _kind(text: str) -> tuple[str | Form, str]:
    """What kind of file this is, if it is known, and its first line that is not blank."""
    first = next((line.strip("\ufeff ") for line in split_lines(text) if line.strip()), "")
    if is_textgrid(text):
        return "TextGrid", first
    if first.startswith("<"):
        return "XML", first
    if is_audacity(first):
        return "label track", first
    form = form_of(header_of(first)[0])
    return form or ("layer" if is_layer_csv(first) else ""), first


def _parsed(text: str) -> Element:
    """The root of an XML file, without the tricks that XML allows. Raises `Refused`.

    The standard library's parser opens no external entity; a file that declares entities of its own, which
    can be made to swell without bound, is refused before it is parsed.
    """
    if "<!ENTITY" in text:
        raise Refused("unsafe XML", "it declares XML entities, which no annotation program does.")
    try:
        return ElementTree.fromstring(text)
    except (ElementTree.ParseError, ValueError, RecursionError) as error:
        raise Refused("not XML", f"it is not well-formed XML ({error}).") from error


def is_annotation(path: Path, layers: bool = False) -> bool:
    """Whether a file begins as those of annotation programs do.

    The library's own table is none of them; bare numbers between commas count only with `layers`.
    """
    try:
        with path.open("rb") as stream:
            text, _ = decode(stream.read(HEAD))
    except (OSError, Refused):
        return False
    kind, _ = _kind(text)
    if isinstance(kind, Form):
        return kind.name != "own"
    if kind == "XML":
        return "<ANNOTATION_DOCUMENT" in text or "<sv>" in text
    return kind in ("TextGrid", "label track") or (layers and kind == "layer")
