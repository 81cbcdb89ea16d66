"""Recordings that are no local files: at addresses that `fsspec` knows, or on standard input.

Each is copied to a temporary file, that of an address only while it is read.
"""

import functools
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import NamedTemporaryFile, TemporaryDirectory
from typing import TYPE_CHECKING

from atst.errors import AudioError, UsageError
from atst.sound.storage import download
from atst.sound.walk import has_audio_name

if TYPE_CHECKING:
    from atst.sound.isolated import Decoder
    from atst.sound.messages import Reply, Request

STANDARD_INPUT = "-"


@dataclass(frozen=True)
class Remote:
    """A recording at an address."""

    address: str

    def state(self) -> tuple[str, int, int]:
        """Its name; whether it has changed since is not asked."""
        return self.address, -1, 0

    def replies(self, request: "Request", decoder: "Decoder") -> "Iterator[Reply]":
        """What `decoder` replies about a copy, which is removed at the end."""
        with NamedTemporaryFile(dir=folder(), suffix=Path(file_name(self.address)).suffix) as copy:
            decoder.fetching = True
            try:
                download(self.address, copy.name, lambda: decoder.closed)
            finally:
                decoder.fetching = False
            if decoder.closed:
                return
            try:
                yield from decoder.ask(replace(request, path=copy.name, stored=None))
            except AudioError as error:
                raise AudioError(str(error).replace(copy.name, self.address)) from None


def is_audio_address(address: str) -> bool:
    """Whether it is the address of an audio file, by its name; others are of packed corpora."""
    return "://" in address and any(has_audio_name(file_name(part)) for part in address.split("::"))


def file_name(address: str) -> str:
    """The last part of an address, without a query."""
    return address.partition("?")[0].partition("#")[0].rpartition("/")[2]


def standard_input() -> Path:
    """A copy of what is on standard input, kept until the process ends. Raises `UsageError` if nothing is."""
    if sys.stdin.isatty():
        raise UsageError("-: standard input is a terminal; pipe or redirect a recording into it.")
    path = folder() / "standard-input"
    with path.open("wb") as copy:
        shutil.copyfileobj(sys.stdin.buffer, copy)
    return path


def folder() -> Path:
    """A folder for copies, which is removed when the process ends."""
    return Path(_folder().name)


@functools.cache
def _folder() -> "TemporaryDirectory[str]":
    return TemporaryDirectory(prefix="atst-", ignore_cleanup_errors=True)
