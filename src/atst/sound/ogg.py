"""The pages of an Ogg file: where its links begin, and where a decoder may start."""

import functools
import os
import struct
import zlib
from dataclasses import dataclass, field
from pathlib import Path

from atst.sound.source import damage
from atst.sound.view import mapped

BEGINS = 2  # flag of a stream's first page
MARK = b"OggS"
MIRRORED = bytes(int(f"{value:08b}"[::-1], 2) for value in range(256))


@dataclass
class Link:
    """One of the files, of Ogg or FLAC, that a chained file is made of."""

    begin: int  # bytes
    end: int = 0
    granules: list[int] = field(default_factory=list)  # of pages of its first track on which packets end
    damaged: list[int] = field(default_factory=list)  # the granules before pages that are not as written
    count: int = 0  # pages
    early: bool = False  # whether it begins before its own time zero
    total: int = 0  # samples by its header, in FLAC

    def damage(self, rate: int, begin: float, end: float) -> str | None:
        """What to say of damaged pages between these samples; `rate` is that of the granules in Hz."""
        found = [place / rate for place in self.damaged if begin <= place < end]
        return damage("pages", found, self.count) if found else None


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
    at, serial = 0, 0
    starting = is_cut = broken = False
    with mapped(path) as data:
        while (at := data.find(MARK, at)) >= 0:
            if at + 27 > size or at + 27 + data[at + 26] > size:
                is_cut = True
                break
            flags, granule, number, _, written = struct.unpack_from("<BqIII", data, at + 5)
            length = 27 + data[at + 26] + sum(data[at + 27 : at + 27 + data[at + 26]])
            if at + length <= size and checksum(data[at : at + length]) != written:
                broken = True
                at += 4
                continue
            if flags & BEGINS and not starting:
                links.append(Link(at))
                serial = number
            starting = bool(flags & BEGINS)
            if links and broken:
                links[-1].damaged.append(links[-1].granules[-1] if links[-1].granules else 0)
            broken = False
            if links and granule < -1:
                links[-1].early = True
            if links and number == serial and granule >= 0 and not starting:
                links[-1].granules.append(granule)
            is_cut = at + length > size
            at += length
            if links:
                links[-1].end = min(at, size)
                links[-1].count += 1
    return Pages(links, is_cut)


def checksum(page: bytes) -> int:
    """Ogg's CRC-32: that of zlib with the bits of each byte, and of the result, in reverse, from 0."""
    blank = page[:22] + bytes(4) + page[26:]
    reverse = zlib.crc32(blank.translate(MIRRORED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int.from_bytes(reverse.to_bytes(4, "little").translate(MIRRORED), "big")
