"""Text on the screen and in files: names may hold anything."""

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text


def print_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table to stdout, every cell as it is: rich would take `[x]` in a name for markup."""
    table = Table()
    for name in header:
        table.add_column(Text(name))
    for row in rows:
        table.add_row(*(Text(writable(cell)) for cell in row))
    Console().print(table)


def writable(text: str) -> str:
    """The text as UTF-8 can hold it: what is no UTF-8 in a name is spelt out."""
    return text.encode(errors="backslashreplace").decode()
