"""The pages of an Ogg file: where its links begin, and where a decoder may start."""

import functools
import mmap
import os
import struct
from dataclasses import dataclass, field
from pathlib import Path

BEGINS = 2  # flag of a stream's first page
MARK = b"OggS"


@dataclass
class Link:
    """One of the Ogg files that a chained file is made of."""

    begin: int  # bytes
    end: int = 0
    granules: list[int] = field(
        default_factory=list
    )  # of the pages of its first track on which a packet ends


@dataclass(frozen=True)
class Pages:
    """The whole file."""

    links: list[Link]
    is_cut: bool  # its last page should go on beyond the end of the file


def pages(path: str) -> Pages:
    """The page index of an Ogg file; the last few are kept."""
    state = Path(path).stat()
    return _scan(os.fspath(path), state.st_size, state.st_mtime_ns)


@functools.lru_cache(maxsize=16)
def _scan(path: str, size: int, changed: int) -> Pages:
    links: list[Link] = []
    at, starting, serial, is_cut = 0, False, 0, False
    with Path(path).open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        while (at := data.find(MARK, at)) >= 0:
            if at + 27 > size or at + 27 + data[at + 26] > size:
                is_cut = True
                break
            flags, granule, number = struct.unpack_from("<BqI", data, at + 5)
            length = 27 + data[at + 26] + sum(data[at + 27 : at + 27 + data[at + 26]])
            if flags & BEGINS and not starting:
                links.append(Link(at))
                serial = number
            starting = bool(flags & BEGINS)
            if links and number == serial and granule >= 0 and not starting:
                links[-1].granules.append(granule)
            is_cut = at + length > size
            at += length
            if links:
                links[-1].end = min(at, size)
    return Pages(links, is_cut)
