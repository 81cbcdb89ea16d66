"""How far the work is: a bar on a terminal, a plain line now and then elsewhere, always on stderr."""

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

LINE_SECONDS = 10.0  # between two plain lines: a log of an hour stays readable

Item = TypeVar("Item")


def track(iterable: Iterable[Item], description: str, total: int | None = None) -> Iterator[Item]:
    """The items of `iterable`, while stderr shows how many are done, of how many, and the time left.

    `total` is taken from `len(iterable)` where there is one; without it only the count is shown.
    """
    if total is None:
        try:
            total = len(iterable)  # type: ignore[arg-type]
        except TypeError:
            total = None
    return (_bar if sys.stderr.isatty() else _lines)(iterable, description, total)


def _bar(iterable: Iterable[Item], description: str, total: int | None) -> Iterator[Item]:
    columns = (
        TextColumn("{task.description}", markup=False),  # a file's name may hold [brackets]
        BarColumn(),
        MofNCompleteColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        yield from progress.track(iterable, total=total, description=description)


def _lines(iterable: Iterable[Item], description: str, total: int | None) -> Iterator[Item]:
    """A line every LINE_SECONDS and one at the end; none at all for an empty iterable."""
    start = last = time.monotonic()
    done = 0
    for item in iterable:
        yield item
        done += 1
        now = time.monotonic()
        if now - last >= LINE_SECONDS and done != total:
            _print_line(description, done, total, now - start)
            last = now
    if done:
        _print_line(description, done, total, time.monotonic() - start)


def _print_line(description: str, done: int, total: int | None, seconds: float) -> None:
    if total is None:
        count, rest = str(done), f"{clock(seconds)}"
    elif done < total:
        count, rest = f"{done}/{total}", f"{clock(seconds)}, {clock(seconds / done * (total - done))} left"
    else:
        count, rest = f"{done}/{total}", clock(seconds)
    print(f"{description}: {count} ({rest})", file=sys.stderr, flush=True)


def clock(seconds: float) -> str:
    """Seconds as `m:ss`, or `h:mm:ss` from one hour on."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
