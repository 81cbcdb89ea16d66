"""Praat's TextGrids, long and short: only free-standing numbers and quoted texts count in either."""

import re
from collections.abc import Iterator

from atst.events.event import Options, Refused, Row, Table, choose_tier
from atst.events.text import NUMBER, number

TOKEN = re.compile(r'"(?:[^"]|"")*"|![^\r\n]*|[^\s"]+')
FLAG = "<exists>"


def is_textgrid(text: str) -> bool:
    """Whether the text begins as Praat's text files of a TextGrid do."""
    head = text[:400]
    return '"ooTextFile"' in head and '"TextGrid"' in head


def read_textgrid(text: str, options: Options) -> Table:
    """The intervals and points of one tier; intervals without text are not events. Raises `Refused`."""
    tokens = Tokens(text)
    for expected in ("ooTextFile", "TextGrid"):
        if tokens.text() != expected:
            raise Refused("not a TextGrid", f"it begins as a TextGrid but lacks '{expected}'.")
    tokens.number(), tokens.number()
    tiers: list[tuple[str, list[Row]]] = []
    if tokens.next() == FLAG:
        tiers = [_tier(tokens) for _ in range(tokens.count())]
    if (more := next(tokens.rest, None)) is not None:
        raise Refused("not a TextGrid", f"it goes on after its last tier, with '{more[1]}'.", more[0])
    return Table("TextGrid", choose_tier(tiers, options))


def _tier(tokens: "Tokens") -> tuple[str, list[Row]]:
    kind, name = tokens.text(), tokens.text()
    if kind not in ("IntervalTier", "TextTier"):
        raise Refused("not a TextGrid", f"'{kind}' is not a kind of tier.")
    tokens.number(), tokens.number()
    rows = []
    for _ in range(tokens.count()):
        begin, line = tokens.number("a time"), tokens.line
        end = tokens.number("a time") if kind == "IntervalTier" else begin
        text = tokens.text().strip()
        if text or kind == "TextTier":
            rows.append(Row(line, begin, end, text))
    return name, rows


class Tokens:
    """The numbers, quoted texts and flags of a file one after the other; `line` is that of the last one."""

    def __init__(self, text: str) -> None:
        self.rest, self.line = _tokens(text), 1

    def next(self) -> float | str:
        """A number, or a text without its quotes, or a flag."""
        try:
            self.line, value = next(self.rest)
        except StopIteration:
            text = "it ends before its last tier does: was it cut short?"
            raise Refused("not a TextGrid", text) from None
        return value

    def number(self, what: str = "a number") -> float:
        """A number. Raises `Refused` where there is another thing, as do the following."""
        value = self.next()
        if isinstance(value, str):
            raise Refused("not a TextGrid", f"'{value}' stands where {what} should.", self.line)
        return value

    def count(self) -> int:
        """How many tiers or intervals follow."""
        value = self.number()
        if value < 0 or value != int(value):
            raise Refused("not a TextGrid", f"{value:g} is not a number of tiers or intervals.")
        return int(value)

    def text(self) -> str:
        """A text."""
        value = self.next()
        if not isinstance(value, str):
            raise Refused("not a TextGrid", f"{value:g} stands where a text should.", self.line)
        return value


def _tokens(text: str) -> Iterator[tuple[int, float | str]]:
    """The tokens, and the line in which each begins."""
    line = 1
    at = 0
    for found in TOKEN.finditer(text):
        line += len(re.findall(r"\r\n|\r|\n", text[at : found.start()]))
        word, start = found[0], line
        line += len(re.findall(r"\r\n|\r|\n", word))
        at = found.end()
        if word.startswith('"'):
            yield start, re.sub(r"\r\n|\r", "\n", word[1:-1].replace('""', '"'))
        elif NUMBER.fullmatch(word):
            yield start, number(word, "number", start)
        elif word.startswith("<"):
            yield start, word
