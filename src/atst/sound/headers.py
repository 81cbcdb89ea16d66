"""Where the samples of WAV, AIFF, AU and CAF files lie: by their headers, and really.

An impossible size (a placeholder of a program that wrote to a pipe, or 0 in a file that was never
closed) means "to the end of the file"; chunks that follow the samples are not samples.
"""

import math
import os
import struct
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from atst.sound.source import SHORT
from atst.sound.view import View

# Names of chunks that are found after the samples.
TRAILERS = (
    "LIST bext cue id3 ID3 smpl fact iXML PEAK _PMX junk JUNK PAD FLLR afsp inst acid axml NAME MARK COMT"
)
LEEWAY = 1024  # bytes by which a size may be too large: writers that count their header too
PREALLOCATED = 1.0  # s of zeros that mark the unwritten end of a file of unknown size
TAIL = 1 << 20  # bytes at the end in which chunks after the samples are looked for
MPEG = (0x50, 0x55)  # WAV's numbers for MPEG audio


@dataclass(frozen=True)
class Samples:
    """The sample bytes of a file, from `begin` to `end`, of which `zeros` seconds more were left out."""

    begin: int
    claimed: int  # bytes by the header
    size_at: int  # where the header says so
    size_code: str  # in the form of this struct
    extra: int  # how much more than the samples that number counts
    bytes_per_second: float
    block: int  # bytes
    codec: int = 0  # WAV's number
    end: int = 0
    zeros: float = 0.0
    placeholder: bool = False
    is_cut: bool = False

    def view(self, path: str) -> View | None:
        """The file as it should be, where a decoder would not see where the samples end."""
        size = self.end - self.begin
        if not (self.placeholder or self.zeros) or not size:
            return None
        patches = {self.size_at: struct.pack(self.size_code, size + self.extra)}
        if self.size_code[-1] == "I" and self.size_at > 16:
            patches[4] = struct.pack(self.size_code, self.end - 8)
        return View(path, end=self.end, patches=patches)


def samples(path: str) -> Samples | None:
    """Where the samples of this file are; None where that is not one of these formats' headers."""
    with Path(path).open("rb") as file:
        head = file.read(1 << 16)
        size = file.seek(0, os.SEEK_END)
        found = _parse(head)
        if found is None or found.bytes_per_second <= 0:
            return None
        left = size - found.begin
        known = found.claimed if found.claimed >= 0 else None
        if known == 0:
            unknown = left > 0 and not _chunks_to_the_end(file, found.begin, size, found.size_code)
        else:
            unknown = known is None or (known > left and _is_placeholder(known))
        leeway = max(LEEWAY, SHORT * found.bytes_per_second)
        if unknown:
            end = _before_trailing_chunks(file, found.begin, size, found.size_code)
        else:
            end = min(found.begin + (known or 0), size)
        is_cut = not unknown and (known or 0) > left + leeway
        zeros = _zeros(file, found.begin, end) if unknown or is_cut else 0
        if zeros < PREALLOCATED * found.bytes_per_second:
            zeros = 0
        kept = (
            math.ceil((end - found.begin - zeros) / found.block) * found.block if zeros else end - found.begin
        )
        return replace(
            found,
            end=found.begin + kept,
            zeros=zeros / found.bytes_per_second,
            placeholder=unknown,
            is_cut=is_cut,
        )


def _is_placeholder(size: int) -> bool:
    """About 2 or 4 GiB: what programs write that cannot know the size."""
    return 0x7FFF0000 <= size <= 0x80010000 or size >= 0xFFFF0000


def _parse(head: bytes) -> Samples | None:
    if head[:4] in (b"RIFF", b"RIFX", b"RF64") and head[8:12] == b"WAVE":
        return _riff(head, ">" if head[:4] == b"RIFX" else "<")
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        return _aiff(head)
    if head[:4] == b".snd" and len(head) >= 24:
        begin, claimed, encoding, rate, channels = struct.unpack(">5I", head[4:24])
        width = {1: 1, 2: 1, 3: 2, 4: 3, 5: 4, 6: 4, 7: 8, 27: 1}.get(encoding, 0) * channels
        return Samples(begin, claimed, 8, ">I", 0, width * rate, max(1, width))
    if head[:4] == b"caff":
        return _caf(head)
    if head[:4] == b"riff" and head[24:28] == b"wave":
        return _w64(head)
    return None


def _riff(head: bytes, order: str) -> Samples | None:
    at, rate, block, codec, long = 12, 0, 1, 0, None
    while at + 8 <= len(head):
        name, (size,) = head[at : at + 4], struct.unpack(order + "I", head[at + 4 : at + 8])
        if name == b"fmt " and at + 24 <= len(head):
            codec, _, speed, rate, block = struct.unpack(order + "HHIIH", head[at + 8 : at + 22])
            rate = rate or speed  # some writers leave the bytes a second out
        if name == b"ds64" and at + 24 <= len(head):
            long = (at + 16, struct.unpack(order + "q", head[at + 16 : at + 24])[0])
        if name == b"data":
            block = max(1, block)
            if long:
                return Samples(at + 8, long[1], long[0], order + "q", 0, rate, block, codec)
            return Samples(at + 8, size, at + 4, order + "I", 0, rate, block, codec)
        at += 8 + size + size % 2
    return None


def _w64(head: bytes) -> Samples | None:
    at, rate, block, codec = 40, 0, 1, 0
    while at + 24 <= len(head):
        (size,) = struct.unpack("<q", head[at + 16 : at + 24])
        if head[at : at + 4] == b"fmt " and at + 40 <= len(head):
            codec, _, _, rate, block = struct.unpack("<HHIIH", head[at + 24 : at + 38])
        if head[at : at + 4] == b"data":
            return Samples(at + 24, max(-1, size - 24), at + 16, "<q", 24, rate, max(1, block), codec)
        if size < 24:
            return None
        at += size + -size % 8
    return None


def _aiff(head: bytes) -> Samples | None:
    at, width, rate = 12, 0, 0.0
    while at + 8 <= len(head):
        name, (size,) = head[at : at + 4], struct.unpack(">I", head[at + 4 : at + 8])
        if name == b"COMM" and at + 26 <= len(head):
            channels, _, bits, exponent, mantissa = struct.unpack(">hIhHQ", head[at + 8 : at + 26])
            width, rate = channels * ((bits + 7) // 8), math.ldexp(mantissa, (exponent & 0x7FFF) - 16446)
        if name == b"SSND":
            return Samples(at + 16, size - 8 if size else 0, at + 4, ">I", 8, width * rate, max(1, width))
        at += 8 + size + size % 2
    return None


def _caf(head: bytes) -> Samples | None:
    at, rate, width, per_packet = 8, 0.0, 0, 0
    while at + 12 <= len(head):
        name, (size,) = head[at : at + 4], struct.unpack(">q", head[at + 4 : at + 12])
        if name == b"desc" and at + 36 <= len(head):
            rate, _, _, width, per_packet = struct.unpack(">d4sIII", head[at + 12 : at + 36])
        if name == b"data":
            claimed = size - 4 if size > 0 else size
            speed = rate * width / max(1, per_packet)
            return Samples(at + 16, claimed, at + 4, ">q", 4, speed, max(1, width)) if width else None
        if size < 0:
            return None
        at += 12 + size
    return None


def _chunks_to_the_end(file: BinaryIO, at: int, size: int, code: str) -> bool:
    """Whether what stands at `at` is a row of chunks that ends with the file."""
    while at + 8 <= size:
        file.seek(at)
        head = file.read(8)
        if not head[:4].isascii() or not head[:4].decode().isprintable():
            return False
        length = int.from_bytes(head[4:], "big" if code[0] == ">" else "little")
        at += 8 + length + length % 2
    return size <= at <= size + 1


def _before_trailing_chunks(file: BinaryIO, begin: int, size: int, code: str) -> int:
    first = max(begin, size - TAIL)
    file.seek(first)
    tail = file.read()
    starts = sorted(
        first + at
        for name in TRAILERS.split()
        for at in _occurrences(tail, f"{name:4}".encode())
        if (first + at - begin) % 2 == 0
    )
    return next((at for at in starts if _chunks_to_the_end(file, at, size, code)), size)


def _occurrences(content: bytes, name: bytes) -> list[int]:
    found, at = [], content.find(name)
    while at >= 0:
        found.append(at)
        at = content.find(name, at + 1)
    return found


def _zeros(file: BinaryIO, begin: int, end: int) -> int:
    """How many bytes before `end` are zero."""
    at = end
    while at > begin:
        first = max(begin, at - (1 << 20))
        file.seek(first)
        rest = file.read(at - first).rstrip(b"\0")
        if rest:
            return end - first - len(rest)
        at = first
    return end - begin
