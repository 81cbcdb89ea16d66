"""How long a file that FFmpeg reads should be, and whether its structure shows that its end is missing."""

import os
import re
import struct
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import av

from atst.sound import mpeg, ogg
from atst.sound.headers import LEEWAY

if TYPE_CHECKING:
    from atst.sound.ffmpeg import Container

COUNTED = {"flac", "tta", "wv", "ape", "tak", "mpc", "mpc8", "dsf", "asf"}  # headers that count the samples
SMALLEST = 8  # bytes of a FLAC frame, at least


def length(source: "Container") -> tuple[float, str]:
    """Seconds by the header, or by all frames or packets of the file where that would be a guess."""
    row = mpeg.frames(source.path) if source.format == "mp3" else None
    if row and row.unbroken and not (row.claimed == row.count and source.stream.duration):
        return row.count * row.samples / row.rate, "frame headers"
    header = _header(source)
    if header is None:
        return max(0.0, float(_of_packets(source))), "packets"
    return max(0.0, float(header)), "header"


def claimed(source: "Container") -> int | None:
    """The samples there should be by a header that counts them."""
    if source.format not in COUNTED or not source.stream.duration:
        return None
    count = round(source.stream.duration * source.tick * source.rate)
    return None if source.format == "flac" and is_impossible(source.path, count) else count


def is_impossible(path: str, count: int) -> bool:
    """Whether this FLAC file has no room for so many samples: who wrote it did not know."""
    with Path(path).open("rb") as file:
        head = file.read(12)
        size = file.seek(0, os.SEEK_END)
    if head[:4] != b"fLaC" or len(head) < 12:
        return False
    return count > size / SMALLEST * int.from_bytes(head[10:12], "big")


def is_cut(source: "Container") -> bool:
    """Whether the container names more bytes than the file has."""
    if source.samples is not None:
        return source.samples.is_cut
    if source.format == "ogg":
        return ogg.pages(source.path).is_cut
    if source.format == "mp3":
        row = mpeg.frames(source.path)
        return bool(row and row.unbroken and row.claimed and row.claimed > row.count + 1)
    size = Path(source.path).stat().st_size
    if "mov" in source.format and len(entries := source.stream.index_entries):
        return entries[len(entries) - 1].pos + entries[len(entries) - 1].size > size
    if "matroska" in source.format:
        return _segment_end(source.path) > size
    return source.format == "avi" and size + LEEWAY < _frames_end(source.path) < 0x7FFF0000


def _header(source: "Container") -> Fraction | None:
    """The length by the header; None where that is a guess from the bit rate, or another track's length."""
    stream, container = source.stream, source.container
    if stream.duration and ("mov" in source.format or source.format in {*COUNTED, "mp3"} or source.samples):
        return stream.duration * source.tick
    if tag := re.fullmatch(r"(\d+):(\d+):([\d.]+)", stream.metadata.get("DURATION", "")):
        return int(tag[1]) * 3600 + int(tag[2]) * 60 + Fraction(tag[3])
    if "matroska" in source.format and len(container.streams) == 1 and container.duration:
        return Fraction(container.duration, av.time_base)
    return None


def _of_packets(source: "Container") -> Fraction:
    """The length by the time stamps of all packets, which are read and not decoded."""
    spans = [(p.pts, p.pts + (p.duration or 0)) for p in source.packets if p.pts is not None]
    return (max(s[1] for s in spans) - min(s[0] for s in spans)) * source.tick if spans else Fraction(0)


def _frames_end(path: str) -> int:
    """Where the frames of AVI end, by the header of their list."""
    with Path(path).open("rb") as file:
        head = file.read(1 << 16)
    at = head.find(b"movi")
    return at + int.from_bytes(head[at - 4 : at], "little") if at > 4 else 0


def _segment_end(path: str) -> int:
    """Where Matroska's one segment ends, by its header; 0 where that is not known."""
    with Path(path).open("rb") as file:
        head = file.read(4096)
    at = head.find(b"\x18\x53\x80\x67")
    if at < 0 or at + 12 > len(head) or not head[at + 4]:
        return 0
    length = 9 - head[at + 4].bit_length()
    (size,) = struct.unpack(">Q", bytes(8 - length) + head[at + 4 : at + 4 + length])
    size &= (1 << 7 * length) - 1
    return 0 if size == (1 << 7 * length) - 1 else at + 4 + length + size
