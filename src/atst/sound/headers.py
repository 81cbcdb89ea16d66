"""Where the samples of WAV, Wave64, AIFF, AU and CAF files are: what headers say, and what is there.

An impossible size (a placeholder of a program that wrote to a pipe, or 0 in a file that was never
closed) means "to the end of the file"; chunks that follow the samples are not samples.
"""

import math
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace

from atst.sound.source import SHORT
from atst.sound.view import View

# Names of chunks that are found after the samples.
TRAILERS = re.compile(
    b"(?=LIST|bext|cue |id3 |ID3 |smpl|fact|iXML|PEAK|_PMX|junk|JUNK|PAD |FLLR|afsp|inst|acid|axml|NAME|MARK"
    b"|COMT)"
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
    with View(path) as data:  # not mapped: the file may be larger than the memory that may be addressed
        found = _parse(data[0 : 1 << 16])
        if found is None or found.bytes_per_second <= 0:
            return None
        begin, claimed, left = found.begin, found.claimed, len(data) - found.begin
        if claimed == 0:
            unknown = left > 0 and not _chunks_to_the_end(data, begin, found.size_code)
        else:
            unknown = claimed < 0 or (claimed > left and _is_placeholder(claimed))
        if unknown:
            end = _before_trailing_chunks(data, begin, found.size_code)
        else:
            end = min(begin + claimed, len(data))
        is_cut = not unknown and claimed > left + max(LEEWAY, SHORT * found.bytes_per_second)
        zeros = _zeros(data, begin, end) if unknown or is_cut else 0
        if zeros < PREALLOCATED * found.bytes_per_second:
            zeros = 0
        else:
            end = begin + math.ceil((end - begin - zeros) / found.block) * found.block
        seconds = zeros / found.bytes_per_second
        return replace(found, end=end, zeros=seconds, placeholder=unknown, is_cut=is_cut)


def _is_placeholder(size: int) -> bool:
    """About 2 or 4 GiB: what programs write that cannot know the size."""
    return 0x7FFF0000 <= size <= 0x80010000 or size >= 0xFFFF0000


def _parse(head: bytes) -> Samples | None:
    if head[:4] in (b"RIFF", b"RIFX", b"RF64") and head[8:12] == b"WAVE":
        code = ">I" if head[:4] == b"RIFX" else "<I"
        return _wave(head, _chunks(head, 12, code, even=2), code)
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        return _aiff(head)
    if head[:4] == b".snd" and len(head) >= 24:
        begin, claimed, encoding, rate, channels = struct.unpack(">5I", head[4:24])
        width = {1: 1, 2: 1, 3: 2, 4: 3, 5: 4, 6: 4, 7: 8, 27: 1}.get(encoding, 0) * channels
        return Samples(begin, claimed, 8, ">I", 0, width * rate, max(1, width))
    if head[:4] == b"caff":
        return _caf(head)
    if head[:4] == b"riff" and head[24:28] == b"wave":
        return _wave(head, _chunks(head, 40, "<q", name=16, included=24, even=8), "<q", 24)
    return None


def _chunks(
    data: bytes | View, at: int, form: str, name: int = 4, included: int = 0, even: int = 1
) -> Iterator[tuple[bytes, int, int]]:
    """The name of each chunk, where its content begins and its size; the last one's may be impossible.

    A name has `name` bytes; a size, in this form of struct, counts `included` bytes of the chunk's own header
    as well; a chunk is padded to a multiple of `even`.
    """
    width = name + struct.calcsize(form)
    while at + width <= len(data):
        size = struct.unpack(form, data[at + name : at + width])[0] - included
        yield data[at : at + 4], at + width, size
        if size < 0:
            return
        at += width + size + -size % even


def _wave(
    head: bytes, chunks: Iterator[tuple[bytes, int, int]], code: str, included: int = 0
) -> Samples | None:
    """Of RIFF, RF64 and Wave64."""
    order, rate, block, codec = code[0], 0, 1, 0
    long: tuple[int, int, str] | None = None
    for name, at, size in chunks:
        if name == b"fmt " and at + 16 <= len(head):
            codec, _, speed, rate, block = struct.unpack_from(order + "HHIIH", head, at)
            rate = rate or (0 if included else speed)  # some writers of RIFF leave the bytes a second out
        if name == b"ds64" and at + 16 <= len(head):
            long = struct.unpack_from(order + "q", head, at + 8)[0], at + 8, order + "q"
        if name == b"data":
            claimed, size_at, code = long or (max(-1, size), at - struct.calcsize(code), code)
            return Samples(at, claimed, size_at, code, included, rate, max(1, block), codec)
    return None


def _aiff(head: bytes) -> Samples | None:
    width, rate = 0, 0.0
    for name, at, size in _chunks(head, 12, ">I", even=2):
        if name == b"COMM" and at + 18 <= len(head):
            channels, _, bits, exponent, mantissa = struct.unpack_from(">hIhHQ", head, at)
            width, rate = channels * ((bits + 7) // 8), math.ldexp(mantissa, (exponent & 0x7FFF) - 16446)
        if name == b"SSND":
            return Samples(at + 8, size - 8 if size else 0, at - 4, ">I", 8, width * rate, max(1, width))
    return None


def _caf(head: bytes) -> Samples | None:
    rate, width, per_packet = 0.0, 0, 0
    for name, at, size in _chunks(head, 8, ">q"):
        if name == b"desc" and at + 24 <= len(head):
            rate, _, _, width, per_packet = struct.unpack_from(">d4sIII", head, at)
        if name == b"data" and width:
            speed = rate * width / max(1, per_packet)
            return Samples(at + 4, size - 4 if size > 0 else size, at - 8, ">q", 4, speed, width)
    return None


def _chunks_to_the_end(data: View, at: int, code: str) -> bool:
    """Whether what stands at `at` is a row of chunks that ends with the file."""
    for name, begin, size in _chunks(data, at, code[0] + "I", even=2):
        if not name.isascii() or not name.decode().isprintable():
            return False
        at = begin + size + size % 2
    return len(data) <= at <= len(data) + 1


def _before_trailing_chunks(data: View, begin: int, code: str) -> int:
    """Where the samples end that begin at `begin`, or the file."""
    first = max(begin, len(data) - TAIL)
    for found in TRAILERS.finditer(data[first : len(data)]):
        at = first + found.start()
        if (at - begin) % 2 == 0 and _chunks_to_the_end(data, at, code):
            return at
    return len(data)


def _zeros(data: View, begin: int, end: int) -> int:
    """How many bytes before `end` are zero."""
    at = end
    while at > begin:
        first = max(begin, at - (1 << 20))
        if rest := data[first:at].rstrip(b"\0"):
            return end - first - len(rest)
        at = first
    return end - begin
