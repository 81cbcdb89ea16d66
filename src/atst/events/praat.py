"""Praat's TextGrids, long and short: only free-standing numbers and quoted texts count in either."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from atst.events.event import Options, Refused, Row, Table, choose_tier
from atst.events.text import NUMBER, number

TOKEN = re.compile(r'"(?:[^"]|"")*"|![^\r\n]*|[^\s"]+')
FLAG = "<exists>"


@dataclass(frozen=True)
class Token:
    """A number, a text without its quotes, or a flag, and the line that it begins in."""

    value: float | str
    line: int


def is_textgrid(text: str) -> bool:
    """Whether the text begins as Praat's text files of a TextGrid do."""
    head = text[:400]
    return '"ooTextFile"' in head and '"TextGrid"' in head


def read_textgrid(text: str, options: Options) -> Table:
    """The intervals and points of one tier; intervals without text are not events. Raises `Refused`."""
    tokens = _tokens(text)
    for expected in ("ooTextFile", "TextGrid"):
        if _text(tokens) != expected:
            raise Refused("not a TextGrid", f"it begins as a TextGrid but lacks '{expected}'.")
    _number(tokens), _number(tokens)
    tiers: list[tuple[str, list[Row]]] = []
    if _next(tokens).value == FLAG:
        tiers = [_tier(tokens) for _ in range(_count(tokens))]
    if (more := next(tokens, None)) is not None:
        raise Refused("not a TextGrid", f"it goes on after its last tier, with '{more.value}'.", more.line)
    return Table("TextGrid", choose_tier(tiers, options))


def _tier(tokens: Iterator[Token]) -> tuple[str, list[Row]]:
    kind, name = _text(tokens), _text(tokens)
    if kind not in ("IntervalTier", "TextTier"):
        raise Refused("not a TextGrid", f"'{kind}' is not a kind of tier.")
    _number(tokens), _number(tokens)
    rows = []
    for _ in range(_count(tokens)):
        begin = _next(tokens)
        end = _next(tokens) if kind == "IntervalTier" else begin
        text = _text(tokens).strip()
        if isinstance(begin.value, str) or isinstance(end.value, str):
            raise Refused(
                "not a TextGrid", f"'{begin.value}' or '{end.value}' stands for a time.", begin.line
            )
        if text or kind == "TextTier":
            rows.append(Row(begin.line, begin.value, end.value, text))
    return name, rows


def _tokens(text: str) -> Iterator[Token]:
    line = 1
    at = 0
    for found in TOKEN.finditer(text):
        line += len(re.findall(r"\r\n|\r|\n", text[at : found.start()]))
        word, start = found[0], line
        line += len(re.findall(r"\r\n|\r|\n", word))
        at = found.end()
        if word.startswith('"'):
            yield Token(re.sub(r"\r\n|\r", "\n", word[1:-1].replace('""', '"')), start)
        elif NUMBER.fullmatch(word):
            yield Token(number(word, "number", start), start)
        elif word.startswith("<"):
            yield Token(word, start)


def _next(tokens: Iterator[Token]) -> Token:
    token = next(tokens, None)
    if token is None:
        raise Refused("not a TextGrid", "it ends before its last tier does: was it cut short?")
    return token


def _number(tokens: Iterator[Token]) -> float:
    token = _next(tokens)
    if isinstance(token.value, str):
        raise Refused("not a TextGrid", f"'{token.value}' stands where a number should.", token.line)
    return token.value


def _count(tokens: Iterator[Token]) -> int:
    value = _number(tokens)
    if value < 0 or value != int(value):
        raise Refused("not a TextGrid", f"{value:g} is not a number of tiers or intervals.")
    return int(value)


def _text(tokens: Iterator[Token]) -> str:
    token = _next(tokens)
    if not isinstance(token.value, str):
        raise Refused("not a TextGrid", f"{token.value:g} stands where a text should.", token.line)
    return token.value
