"""Progress on stderr: a bar on a terminal, elsewhere a plain line now and then."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Self, TypeVar

from rich.console import Console
from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

LINE_SECONDS = 10.0  # between two plain lines: a log of an hour stays readable
FIRST_SECONDS = 5.0  # to the first line: so the time left is known soon
SEARCH_SECONDS = 2.0  # shorter searches show nothing

_shown: ContextVar[bool] = ContextVar("shown", default=True)

Item = TypeVar("Item")


@contextmanager
def quiet(wanted: bool = True) -> Iterator[None]:
    """Show no progress within the block, if `wanted`."""
    token = _shown.set(_shown.get() and not wanted)
    try:
        yield
    finally:
        _shown.reset(token)


def say(text: str) -> None:
    """Print a line to stderr, unless progress is switched off."""
    if _shown.get():
        print(text, file=sys.stderr, flush=True)


@dataclass(frozen=True)
class Progress:
    """How much is done, of how much if that is known, in any unit; and a text that says so."""

    done: float
    total: float | None
    text: str


def track(
    iterable: Iterable[Item], description: str, total: int | None = None, *, after: float = 0.0
) -> Iterator[Item]:
    """The items of `iterable`, while stderr shows how many are done, of how many, and the time left.

    `total` is taken from `len(iterable)` where there is one; without it only the count is shown. Nothing is
    shown of what takes less than `after` seconds.
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
        return Progress(done, total, f"{done:,}" if total is None else f"{done}/{total}")

    return watch(counting(), description, progress, after)


def watch(
    iterable: Iterable[Item], description: str, progress: Callable[[], Progress], after: float = 0.0
) -> Iterator[Item]:
    """The items of `iterable`, while stderr shows what `progress` says and the time left; see `track`."""
    if not _shown.get():
        yield from iterable
        return
    some = False
    with Display(description, after=after) as display:
        for item in iterable:
            yield item
            some = True
            if display.due and (state := progress()).done != state.total:
                display.show(state)
        if some and time.monotonic() - display.begin >= after:
            display.show(progress())


class Display:
    """Shows on stderr how far some work is: a bar on a terminal, else a line now and then.

    `first` is what was done before it began, in work that was resumed; nothing is shown in the first `after`
    seconds. To be used as a context. Where it is to be quiet only warnings are shown.
    """

    def __init__(self, description: str, first: float = 0, after: float = 0.0) -> None:
        self.description, self.first, self.after = description, first, after
        self.bar: Bar | None = None
        self.begin = self.next_line = 0.0
        self.shown = _shown.get()

    def __enter__(self) -> Self:
        self.begin = time.monotonic()
        self.next_line = self.begin + max(self.after, min(FIRST_SECONDS, LINE_SECONDS))
        if self.shown and sys.stderr.isatty():
            self.next_line = self.begin + self.after
            self.bar = Bar(
                TextColumn("{task.description}", markup=False),  # a file's name may hold [brackets]
                BarColumn(),
                TextColumn("{task.fields[text]}", markup=False),
                TaskProgressColumn(),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                console=Console(stderr=True),
            )
            self.task = self.bar.add_task(self.description, total=None, text="")
            if not self.after:
                self.bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self.bar is not None:
            self.bar.stop()

    @property
    def due(self) -> bool:
        """Whether something is to be shown again."""
        return self.shown and time.monotonic() >= self.next_line

    def show(self, state: Progress) -> None:
        """Show how much is done, the time that it took and, if the total is known, the time left."""
        if self.bar is not None:
            self.bar.start()
            self.bar.update(self.task, completed=state.done, total=state.total, text=state.text)
            return
        now = time.monotonic()
        self.next_line = now + LINE_SECONDS
        times, done = clock(now - self.begin), state.done - self.first
        if state.total is not None and done > 0 and state.done < state.total:
            times += f", {clock((now - self.begin) / done * (state.total - state.done))} left"
        self.say(f"{self.description}: {state.text} ({times})")

    def say(self, text: str) -> None:
        """A line that does not disturb the bar."""
        if self.shown:
            self._print(text)

    def warn(self, text: str) -> None:
        """The same of a warning, which is always shown."""
        self._print(f"warning: {text}")

    def _print(self, text: str) -> None:
        if self.bar is not None:
            self.bar.console.print(text, markup=False, highlight=False)
        else:
            print(text, file=sys.stderr, flush=True)


def clock(seconds: float) -> str:
    """Seconds as `m:ss`, or `h:mm:ss` from one hour on."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
