"""How far the work is: a bar on a terminal, a plain line now and then elsewhere, always on stderr."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bar

LINE_SECONDS = 10.0  # between two plain lines: a log of an hour stays readable
SEARCH_SECONDS = 2.0  # a search that takes less says nothing

_shown: ContextVar[bool] = ContextVar("shown", default=True)

Item = TypeVar("Item")


@contextmanager
def quiet(wanted: bool = True) -> Iterator[None]:
    """In the block no progress is shown, if that is wanted."""
    token = _shown.set(_shown.get() and not wanted)
    try:
        yield
    finally:
        _shown.reset(token)


def say(text: str) -> None:
    """A line on stderr, unless it is to be quiet."""
    if _shown.get():
        print(text, file=sys.stderr, flush=True)


@dataclass(frozen=True)
class Progress:
    """How much is done, of how much if that is known, in any unit; and the same in words."""

    done: float
    total: float | None
    words: str


def track(iterable: Iterable[Item], description: str, total: int | None = None) -> Iterator[Item]:
    """The items of `iterable`, while stderr shows how many are done, of how many, and the time left.

    `total` is taken from `len(iterable)` where there is one; without it only the count is shown.
    """
    if total is None:
        try:
            total = len(iterable)  # type: ignore[arg-type]
        except TypeError:
            total = None
    done = 0

    def counting() -> Iterator[Item]:
        nonlocal done
        for item in iterable:
            done += 1
            yield item

    def progress() -> Progress:
        return Progress(done, total, str(done) if total is None else f"{done}/{total}")

    return watch(counting(), description, progress)


def watch(iterable: Iterable[Item], description: str, progress: Callable[[], Progress]) -> Iterator[Item]:
    """The items of `iterable`, while stderr shows what `progress` says and the time left."""
    if not _shown.get():
        return iter(iterable)
    return (_bar if sys.stderr.isatty() else _lines)(iterable, description, progress)


def counted(iterable: Iterable[Item], text: str) -> Iterator[Item]:
    """The items of `iterable`; where that takes long, `text` with their number in it shows now and then."""
    began = last = time.monotonic()
    pause = 0.2 if sys.stderr.isatty() else LINE_SECONDS
    number = 0
    for number, item in enumerate(iterable, 1):
        yield item
        now = time.monotonic()
        if now - began > SEARCH_SECONDS and now - last > pause:
            last = now
            _say_over(text.format(f"{number:,}") + " ...")
    if time.monotonic() - began > SEARCH_SECONDS:
        _say_over(text.format(f"{number:,}"), end="\n")


def _say_over(text: str, end: str = "") -> None:
    """A line on stderr; on a terminal it takes the place of the one before, until `end` ends it."""
    if _shown.get() and sys.stderr.isatty():
        print(f"\r{text}\033[K", end=end, file=sys.stderr, flush=True)
    elif _shown.get():
        print(text, file=sys.stderr, flush=True)


def _bar(iterable: Iterable[Item], description: str, progress: Callable[[], Progress]) -> Iterator[Item]:
    columns = (
        TextColumn("{task.description}", markup=False),  # a file's name may hold [brackets]
        BarColumn(),
        TextColumn("{task.fields[words]}"),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=Console(stderr=True)) as bar:
        now = progress()
        task = bar.add_task(description, total=now.total, words=now.words)
        for item in iterable:
            yield item
            now = progress()
            bar.update(task, completed=now.done, total=now.total, words=now.words)
        now = progress()
        bar.update(task, completed=now.done, total=now.total, words=now.words)


def _lines(iterable: Iterable[Item], description: str, progress: Callable[[], Progress]) -> Iterator[Item]:
    """A line every LINE_SECONDS and one at the end; none at all for an empty iterable."""
    start = last = time.monotonic()
    some = False
    for item in iterable:
        yield item
        some = True
        now = time.monotonic()
        if now - last >= LINE_SECONDS and (state := progress()).done != state.total:
            _print_line(description, state, now - start)
            last = now
    if some:
        _print_line(description, progress(), time.monotonic() - start)


def _print_line(description: str, state: Progress, seconds: float) -> None:
    rest = clock(seconds)
    if state.total is not None and 0 < state.done < state.total:
        rest += f", {clock(seconds / state.done * (state.total - state.done))} left"
    print(f"{description}: {state.words} ({rest})", file=sys.stderr, flush=True)


def clock(seconds: float) -> str:
    """Seconds as `m:ss`, or `h:mm:ss` from one hour on."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
