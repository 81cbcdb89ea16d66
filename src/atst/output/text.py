"""Text on the screen and in files, where names may contain anything."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text


def print_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table to stdout, every cell as it is; rich would read `[x]` in a name as markup."""
    table = Table()
    for name in header:
        table.add_column(Text(name), overflow="fold")
    for row in rows:
        table.add_row(*(Text(writable(cell)) for cell in row))
    Console().print(table)


def writable(text: str) -> str:
    """The text with bytes of file names that are not valid UTF-8 written as escapes."""
    return text.encode(errors="backslashreplace").decode()


def path_text(path: str | Path) -> str:
    """A path as the text of a cell, which must be UTF-8, as a file name need not be."""
    return os.fsencode(path).decode("utf-8", errors="replace")
