"""The frames of an MPEG audio file (MP3, MP2), found by their headers alone."""

import functools
import os
from dataclasses import dataclass
from mmap import mmap
from pathlib import Path

import numpy as np

from atst.sound.view import behind_id3, mapped

# kbit/s by the header's four bits, for (MPEG-1?, layer)
BITRATES = {
    (True, 1): (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448, 0),
    (True, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 0),
    (True, 3): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 0),
    (False, 1): (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256, 0),
    (False, 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160, 0),
    (False, 3): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160, 0),
}
RATES = (44100, 48000, 32000)  # Hz; half of that in MPEG-2, a quarter in MPEG-2.5
ROW = 3  # frames in a row that make a beginning
SEARCH = 1 << 20  # bytes in which the first frame must begin


@dataclass(frozen=True)
class Frames:
    """Where each frame of a file begins, in one unbroken row; all have `samples` samples."""

    offsets: np.ndarray  # bytes
    samples: int
    rate: int  # Hz
    claimed: int | None  # how many hold sound by the file's own count, for which the first frame is used
    unbroken: bool  # whether no more frames come after this row

    @property
    def count(self) -> int:
        """How many frames hold sound."""
        return len(self.offsets)


def frames(path: str) -> Frames | None:
    """The frame index of a file, None where there is none; the last few are kept."""
    state = Path(path).stat()
    return _scan(os.fspath(path), state.st_size, state.st_mtime_ns)


@functools.lru_cache(maxsize=16)
def _scan(path: str, size: int, changed: int) -> Frames | None:
    with mapped(path) as data:
        at = behind_id3(data, 0)
        first = _next_row(data, at, min(size, at + SEARCH))
        if first is None:
            return None
        offsets, end = _row(data, first)
        samples, rate, _ = _kind(data[first + 1], data[first + 2])
        claimed = _claimed(data[first : offsets[1] if len(offsets) > 1 else end])
        unbroken = _next_row(data, end, size) is None
    return Frames(np.array(offsets[claimed is not None :], np.int64), samples, rate, claimed, unbroken)


def bytes_before_frame(packet: bytes) -> int:
    """How many bytes of a packet come before its frame, which ends with it; 0 if there is none."""
    at = 0 if packet[:1] == b"\xff" else packet.find(b"\xff")
    while 0 < at < len(packet) - 4:
        if at + _kind(packet[at + 1], packet[at + 2])[2] == len(packet):
            return at
        at = packet.find(b"\xff", at + 1)
    return 0


def _next_row(data: mmap, at: int, end: int) -> int | None:
    """Where the next few frames in a row begin, or frames that end with the file."""
    while (at := data.find(b"\xff", at, end)) >= 0:
        if at + 4 <= len(data) and _kind(data[at + 1], data[at + 2])[2]:
            offsets, stop = _row(data, at, ROW)
            if len(offsets) == ROW or stop == len(data):
                return at
        at += 1
    return None


def _row(data: mmap, at: int, limit: int = 1 << 60) -> tuple[list[int], int]:
    """The frames, of one kind, that follow each other from `at` on, and the byte after them."""
    second, size = data[at + 1] | 1, len(data)  # the last bit: whether there is a checksum
    kind = _kind(second, data[at + 2])[:2]
    lengths = [_kind(second, third)[2] if _kind(second, third)[:2] == kind else 0 for third in range(256)]
    offsets: list[int] = []
    while at + 4 <= size and data[at] == 255 and data[at + 1] | 1 == second and len(offsets) < limit:
        length = lengths[data[at + 2]]
        if not length:
            break
        offsets.append(at)
        at += length
    return offsets, at


def _kind(second: int, third: int) -> tuple[int, int, int]:
    """Samples, rate in Hz and bytes of a frame, by two bytes of its header; zeros if it is none."""
    version, layer = second >> 3 & 3, 4 - (second >> 1 & 3)
    if second & 0xE0 != 0xE0 or version == 1 or layer == 4 or third >> 2 & 3 == 3:
        return 0, 0, 0
    rate = RATES[third >> 2 & 3] >> {3: 0, 2: 1, 0: 2}[version]
    kbits = BITRATES[version == 3, layer][third >> 4]
    padding = third >> 1 & 1
    if layer == 1:
        return 384, rate, (12000 * kbits // rate + padding) * 4 if kbits else 0
    samples = 576 if layer == 3 and version != 3 else 1152
    return samples, rate, samples // 8 * 1000 * kbits // rate + padding if kbits else 0


def _claimed(frame: bytes) -> int | None:
    """How many frames follow by the Xing, Info or VBRI header in this one; None if it holds sound."""
    side = ((9, 17), (17, 32))[frame[1] >> 3 & 3 == 3][frame[3] >> 6 != 3]
    head = frame[4 + side :]
    if head[:4] in (b"Xing", b"Info"):
        return int.from_bytes(head[8:12], "big") if len(head) > 12 and head[7] & 1 else 0
    if frame[36:40] == b"VBRI":
        return int.from_bytes(frame[50:54], "big")
    return None
