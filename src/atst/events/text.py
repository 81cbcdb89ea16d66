"""The bytes of a table become text, lines, cells and numbers; no text stands for a missing value."""

import codecs
import csv
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from atst.events.event import Refused

NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
MARKS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
LATIN = "not UTF-8, read as Latin-1: look at letters with accents"


def decode(data: bytes) -> tuple[str, list[str]]:
    """The text of a file, by its byte order mark, else UTF-8, else Latin-1; and what to say about it."""
    text, notes = _decoded(data)
    if "\0" in text:
        raise Refused("not text", "it holds zero bytes: binary, or UTF-16 without a mark; save it as UTF-8.")
    return text, notes


def _decoded(data: bytes) -> tuple[str, list[str]]:
    for mark, encoding in MARKS:
        if data.startswith(mark):
            try:
                return data[len(mark) :].decode(encoding), []
            except UnicodeDecodeError as error:
                words = f"it begins as {encoding} and does not continue as such ({error})."
                raise Refused("not text", words) from error
    try:
        return data.decode("utf-8"), []
    except UnicodeDecodeError:
        return data.decode("latin-1"), [LATIN]


def split_lines(text: str) -> list[str]:
    """The lines, whichever of the three line ends they have; other control characters belong to a cell."""
    return re.split(r"\r\n|\r|\n", text)


def key(name: str) -> str:
    """A column's name without case, blanks and signs: `Begin Time (s)` and R's `Begin.Time..s.` are one."""
    return re.sub(r"[\W_]+", " ", name.casefold()).strip()


@dataclass
class Grid:
    """A table with a header."""

    header: list[str]
    rows: list[tuple[int, list[str]]]  # line and cells, stripped, as many as the header has
    separator: str

    def column(self, *names: str) -> int | None:
        """Where the first of these columns is: one of exactly this name, else but for case and signs."""
        for name in names:
            exact = [i for i, there in enumerate(self.header) if there == name]
            alike = exact or [i for i, there in enumerate(self.header) if key(there) == key(name)]
            if len(alike) > 1:
                both = " and ".join(f"'{self.header[i]}'" for i in alike)
                raise Refused("column twice", f"column '{name}' could be {both}: rename all but one.", 1)
            if alike:
                return alike[0]
        return None


def header_of(line: str) -> tuple[list[str], str]:
    """The columns that a first line names, stripped, and what separates them."""
    separator = "\t" if "\t" in line else max(",;", key=line.count)
    try:
        cells = next(csv.reader([line], delimiter=separator), [])
    except csv.Error:
        cells = line.split(separator)
    return [cell.strip() for cell in cells], separator


def read_grid(text: str) -> Grid:
    """The table of a text whose first line that is not blank is its header. Raises `Refused`."""
    lines = split_lines(text)
    first = next(i for i, line in enumerate(lines) if line.strip())
    header, separator = header_of(lines[first])
    while header and not header[-1]:
        header.pop()
    quoted = separator != "\t" or lines[first].lstrip().startswith('"')
    below = enumerate(lines[first + 1 :], first + 2)
    rows = []
    for line, cells in quoted_rows(below, separator) if quoted else _plain(below):
        if not any(cells):
            continue
        if any(cells[len(header) :]):
            surplus = next(cell for cell in cells[len(header) :] if cell)
            words = f"it has more cells than the header has columns ({len(header)}), the first '{surplus}'"
            raise Refused("row longer than the header", f"{words}: name the column or remove it.", line)
        rows.append((line, (cells + [""] * (len(header) - len(cells)))[: len(header)]))
    return Grid(header, rows, separator)


def _plain(lines: Iterable[tuple[int, str]]) -> Iterable[tuple[int, list[str]]]:
    """Tabs separate and quotes are letters, as these programs write them."""
    return ((number, [cell.strip() for cell in line.split("\t")]) for number, line in lines)


def quoted_rows(lines: Iterable[tuple[int, str]], separator: str) -> Iterable[tuple[int, list[str]]]:
    """The cells of numbered lines, of which a quoted one may take several. Raises `Refused`."""
    numbered = list(lines)
    reader = csv.reader((line + "\n" for _, line in numbered), delimiter=separator, strict=True)
    while True:
        at = numbered[min(reader.line_num, len(numbered) - 1)][0] if numbered else 0
        try:
            cells = next(reader, None)
        except csv.Error as error:
            text = f"its quotes or cells cannot be told apart ({error})."
            raise Refused("not a table", text, at) from error
        if cells is None:
            return
        yield at, [cell.strip() for cell in cells]


def decimal_comma(times: Iterable[str], separator: str) -> bool:
    """Whether a comma is the decimal sign of these times, all of one file. Raises `Refused` in doubt."""
    texts = list(times)
    comma = next((text for text in texts if "," in text), None)
    if comma is None:
        return False
    point = next((text for text in texts if "." in text), None)
    if separator == ",":
        words = f"time '{comma}' holds a comma, which separates the cells here"
        raise Refused("decimal comma", f"{words}: save the table with tabs or with points.")
    if point is not None:
        words = f"times have a comma ('{comma}') and a point ('{point}')"
        raise Refused("decimal comma", f"{words}: write all alike.")
    return True


def number(text: str, column: str, line: int | None = None, comma: bool = False) -> float:
    """A cell's number. Raises `Refused`, naming column, line and value."""
    plain = text.replace(",", ".") if comma else text
    if NUMBER.fullmatch(plain):
        value = float(plain)
        if math.isfinite(value):
            return value
    what = "a clock time or date: seconds are needed" if ":" in text or "/" in text else "not a number"
    raise Refused("not a number", f"{column} '{text}' is {what}.", line)


def read_text(path: Path) -> tuple[str, list[str]]:
    """The text of a file and what to say about it. Raises `Refused`."""
    if not path.is_file():
        raise Refused("cannot be opened", "it is not a regular file.")
    try:
        return decode(path.read_bytes())
    except OSError as error:
        raise Refused("cannot be opened", f"cannot be opened: {error.strerror}.") from error
