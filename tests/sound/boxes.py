"""MP4 files as phones, iTunes and Windows write them: FFmpeg's with other edit lists, lengths and stamps."""

import struct
from collections.abc import Callable, Iterator

INSIDE = (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"edts")


def late_start(content: bytes) -> bytes:
    """An edit list whose start is not taken off its length, as in iTunes' and Windows' files."""

    def change(box: bytes) -> bytes:
        length, start = struct.unpack_from(">Ii", box, 8)
        return (
            box[:8] + struct.pack(">Ii", length + start * 1000 // _timescale(content) + 1, start) + box[16:]
        )

    return changed(content, b"elst", change)


def long_start(content: bytes) -> bytes:
    """An edit list that leaves out iTunes' delay of 2112 samples."""
    return changed(content, b"elst", lambda box: box[:12] + struct.pack(">i", 2112) + box[16:])


def empty_start(content: bytes) -> bytes:
    """An edit list that begins with a pause, as in films from phones whose picture comes first."""
    pause = struct.pack(">IiI", 500, -1, 1 << 16)
    return changed(content, b"elst", lambda box: struct.pack(">II", 0, 2) + pause + box[8:])


def no_start(content: bytes) -> bytes:
    """Without an edit list."""
    return changed(content, b"elst", None)


def long_media(content: bytes) -> bytes:
    """The encoder's delay is added to the length that the header of the track gives."""

    def change(box: bytes) -> bytes:
        return box[:16] + struct.pack(">I", struct.unpack_from(">I", box, 16)[0] + 2112) + box[20:]

    return changed(content, b"mdhd", change)


def uneven_stamps(content: bytes) -> bytes:
    """A clock that is not the samples': frames of 1024 are said to last 1000, 1100, 1000, ... ."""
    total = 0

    def stamps(box: bytes) -> bytes:
        nonlocal total
        entries = struct.iter_unpack(">II", box[8:])
        count = sum(number for number, _ in entries)
        lengths = [(1, 1100 if index % 2 else 1000) for index in range(count)]
        total = sum(length for _, length in lengths)
        return struct.pack(">II", 0, count) + b"".join(struct.pack(">II", *each) for each in lengths)

    content = changed(content, b"stts", stamps)
    seconds = total / _timescale(content)
    content = changed(
        content, b"elst", lambda box: box[:8] + struct.pack(">I", int(seconds * 1000)) + box[12:]
    )
    return changed(content, b"mdhd", lambda box: box[:16] + struct.pack(">I", total) + box[20:])


WRITERS = (late_start, long_start, empty_start, no_start, long_media, uneven_stamps)


def changed(content: bytes, name: bytes, change: Callable[[bytes], bytes] | None) -> bytes:
    """The file with what is in one box changed, or the box left out; the index must stand at the end."""
    assert content.index(b"mdat") < content.index(b"moov")
    return b"".join(_rebuilt(content, name, change))


def _rebuilt(content: bytes, name: bytes, change: Callable[[bytes], bytes] | None) -> Iterator[bytes]:
    at = 0
    while at < len(content):
        size, kind = struct.unpack_from(">I4s", content, at)
        body = content[at + 8 : at + size]
        if kind in INSIDE:
            body = b"".join(_rebuilt(body, name, change))
        elif kind == name and change is not None:
            body = change(body)
        if kind != name or change is not None:
            yield struct.pack(">I4s", len(body) + 8, kind) + body
        at += size


def _timescale(content: bytes) -> int:
    return int(struct.unpack_from(">I", content, content.index(b"mdhd") + 16)[0])
