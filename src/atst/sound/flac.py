"""The frames of a FLAC file, found by their headers alone: each says which sample it begins with."""

import functools
import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from mmap import mmap
from pathlib import Path

import numpy as np

from atst.sound.ogg import Link
from atst.sound.view import behind_id3, mapped

MARK = b"fLaC"
STREAMINFO = (b"\0\0\0\x22", b"\x80\0\0\x22")  # what follows the mark
HEAD = 42  # bytes of the mark and of what describes the stream
NEAR = 1 << 16  # bytes that are searched frame by frame
# Where in a file the frames' numbers are compared: files joined end to end have no order there.
PROBES = (0.13, 0.29, 0.47, 0.61, 0.71, 0.89)


def _remainders() -> list[int]:
    """The checksum of a frame's header, x^8 + x^2 + x + 1, for each byte."""
    found = []
    for value in range(256):
        for _ in range(8):
            value = (value << 1) ^ (0x107 if value & 0x80 else 0)
        found.append(value)
    return found


CRC_8 = _remainders()


@dataclass(frozen=True)
class Frame:
    """Where a frame begins."""

    byte: int
    sample: int
    length: int  # samples
    depth: int  # a code for its bits a sample


@dataclass(frozen=True)
class Stream:
    """A FLAC file, or the several of which it is made."""

    begin: int  # bytes; behind what other formats put in front
    first: int  # byte of the first frame
    end: int
    origin: int  # the number of the first sample, if the file was cut out of a longer one
    block: int  # samples a frame, where that is said once for all
    sync: bytes  # how every frame begins
    is_whole: bool = False  # whether the last frame is where the header says
    is_mixed: bool = False  # whether the bits a sample change on the way
    links: list[Link] = field(default_factory=list)


def stream(path: str, begin: int = 0, end: int | None = None) -> Stream | None:
    """The FLAC file between these bytes of a file, None where there is none; the last few are kept."""
    state = Path(path).stat()
    return _scan(os.fspath(path), begin, state.st_size if end is None else end, state.st_mtime_ns)


def before(path: str, found: Stream, sample: int) -> Frame | None:
    """The frame with this sample, or where that is damaged a frame before it."""
    with mapped(path) as data:
        low, high, best = found.first, found.end, None
        while high - low > NEAR:
            middle = (low + high) // 2
            frame = next(_frames(data, found, middle, high), None)
            if frame is None or frame.sample > sample:
                high = middle
            else:
                low, best = frame.byte, frame
        for frame in _frames(data, found, low, min(found.end, high + NEAR)):
            if frame.sample > sample:
                break
            best = frame
        return best


def number(found: Stream, packet: bytes) -> int | None:
    """The sample with which the frame that a packet holds begins; None where it holds none."""
    frame = _frame(packet, found, 0)
    return frame.sample if frame else None


def is_filled(path: str, samples: np.ndarray, begin: int) -> bool:
    """Whether some of these samples (n, C), from `begin` on, are silence instead of frames that are missing.

    libsndfile says nothing of it.
    """
    found = stream(path)
    if found is None:
        return False
    few = samples[:: max(1, found.block // 4), 0] == 0  # a frame's silence holds three of these
    if not (few[2:] & few[1:-1] & few[:-2]).any():
        return False
    start = before(path, found, begin + found.origin)
    with mapped(path) as data:
        expected = None
        for frame in _frames(data, found, start.byte if start else found.first, found.end):
            if frame.sample >= begin + found.origin + len(samples):
                break
            if expected is not None and frame.sample > expected:
                return True
            expected = frame.sample + frame.length
    return False


@functools.lru_cache(maxsize=16)
def _scan(path: str, begin: int, end: int, changed: int) -> Stream | None:
    with mapped(path) as data:
        begin = behind_id3(data, begin)
        head = data[begin : begin + HEAD]
        if len(head) < HEAD or head[:4] != MARK or head[4:8] not in STREAMINFO:
            return None
        first = _behind_metadata(data, begin + 4, end)
        total = _total(head)
        block = int.from_bytes(head[8:10], "big")
        sync = data[first : first + 2]
        sync = sync if sync in (b"\xff\xf8", b"\xff\xf9") else b"\xff\xf8"
        found = Stream(begin, first, end, 0, block, sync)
        frame = _frame(data, found, first)
        seen = _probed(data, found)
        is_ordered = seen == sorted(seen, key=lambda frame: frame.sample)
        is_whole = bool(seen) and seen[-1].sample + seen[-1].length == total
        return replace(
            found,
            origin=frame.sample if frame else 0,
            is_whole=is_whole,
            is_mixed=len({each.depth for each in seen}) > 1,
            links=[] if is_ordered and is_whole else _links(data, begin, first, end),
        )


def _behind_metadata(data: mmap, at: int, end: int) -> int:
    """The byte after the last block of metadata."""
    while at + 4 <= end:
        last = data[at] & 0x80
        at += 4 + int.from_bytes(data[at + 1 : at + 4], "big")
        if last:
            break
    return at


def _probed(data: mmap, found: Stream) -> list[Frame]:
    """Frames here and there, and the last of all."""
    size = found.end - found.first
    places = [found.first + int(share * size) for share in (0.0, *PROBES)]
    seen = [frame for at in places if (frame := next(_frames(data, found, at, found.end), None))]
    last, back = None, 1 << 12
    while last is None and back < 4 * size:
        for frame in _frames(data, found, max(found.first, found.end - back), found.end):
            last = frame
        back *= 4
    return [*seen, last] if last else seen


def _links(data: mmap, begin: int, first: int, end: int) -> list[Link]:
    begins = [begin]
    at = first
    while (at := data.find(MARK, at, end)) >= 0:
        if data[at + 4 : at + 8] in STREAMINFO:
            begins.append(at)
        at += 4
    return [
        Link(at, until, total=_total(data[at : at + HEAD]))
        for at, until in zip(begins, [*begins[1:], end], strict=True)
    ]


def _total(head: bytes) -> int:
    """The samples there should be."""
    return int.from_bytes(head[21:26], "big") & (1 << 36) - 1


def _frames(data: mmap, found: Stream, at: int, end: int) -> Iterator[Frame]:
    """The frames that begin from byte `at` on."""
    while (at := data.find(found.sync, at, end)) >= 0:
        if frame := _frame(data, found, at):
            yield frame
        at += 2


def _frame(data: mmap | bytes, found: Stream, at: int) -> Frame | None:
    """The frame whose header stands at byte `at`; None if none does."""
    head = data[at : at + 16]
    if len(head) < 6 or head[:2] != found.sync or head[2] >> 4 == 0 or head[2] & 15 == 15 or head[3] & 1:
        return None
    ones = 8 - (head[4] ^ 0xFF).bit_length()  # as UTF-8 counts its bytes
    if ones == 1 or ones == 8:
        return None
    length = max(1, ones)
    number = head[4] & (0x7F >> ones if ones else 0x7F)
    for byte in head[5 : 4 + length]:
        number = number << 6 | byte & 0x3F
    at_size, size, rate = 4 + length, head[2] >> 4, head[2] & 15
    wide = {6: 1, 7: 2}.get(size, 0)
    end = at_size + wide + {12: 1, 13: 2, 14: 2}.get(rate, 0)
    crc = 0
    for byte in head[:end]:
        crc = CRC_8[crc ^ byte]
    if end >= len(head) or crc != head[end]:
        return None
    if wide:
        samples = int.from_bytes(head[at_size : at_size + wide], "big") + 1
    else:
        samples = 192 if size == 1 else 576 << size - 2 if size < 6 else 256 << size - 8
    sample = number if found.sync[1] & 1 else number * found.block
    return Frame(at, sample, samples, head[3] >> 1 & 7)
