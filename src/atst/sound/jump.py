"""How to begin in the middle of a file that FFmpeg reads, at a frame whose number is known.

Two kinds number all frames: a row of MPEG frames, by their headers, and MP4, by its sample table.
tests/sound/test_matrix.py shows that stretches read so are those of the whole file (FFmpeg 8.0, PyAV 18).
Everything else is decoded from the start.
"""

import itertools
import math
from fractions import Fraction
from typing import TYPE_CHECKING

from atst.sound import mpeg

if TYPE_CHECKING:
    from atst.sound.ffmpeg import Container

EXACT = {("mp3", "mp3"), ("mp3", "mp3float"), ("mp3", "mp2"), ("mp3", "mp2float")}
EXACT |= {("mov,mp4,m4a,3gp,3g2,mj2", "aac"), ("mov,mp4,m4a,3gp,3g2,mj2", "alac")}
SETTLE = 0.5  # s of MP4 decoded and dropped before a stretch
OVERLAP = 3  # MP3 frames decoded and dropped, and as many more as hold the reservoir
RESERVOIR = 1024  # bytes before an MP3 frame that hold all it may draw upon (511) and its own headers
HEAD = 4  # packets of MP4 by which its decoder's delay is known


def is_exact(source: "Container") -> bool:
    """Whether a stretch of this file can be read without all before it."""
    if source.view is not None or (source.format, source.codec) not in EXACT:
        return False
    return source.format != "mp3" or _row(source) is not None


def to(source: "Container", begin: int) -> tuple[int, int | None]:
    """Let the source go on at or before sample `begin`: the position of what comes next, and the file's end.

    None for an end that the decoder itself will find.
    """
    found = _to_frame(source, begin) if source.format == "mp3" else _to_packet(source, begin)
    if found is None:
        source.open_again()
        return 0, None
    return found


def _row(source: "Container") -> mpeg.Frames | None:
    """The frames of a file that has nothing else between them, and as many as it says."""
    row = mpeg.frames(source.path)
    if row is None or not row.unbroken or row.claimed not in (None, row.count) or row.rate != source.rate:
        return None
    return row


def _to_frame(source: "Container", begin: int) -> tuple[int, int | None] | None:
    row = _row(source)
    first = next(source.packets, None)
    if row is None or first is None or first.pos != row.offsets[0]:
        return None
    skipped = (source.stream.start_time or 0) * source.tick * source.rate  # the encoder's delay
    if skipped != int(skipped):
        return None
    wanted = min(row.count - 1, (begin + int(skipped)) // row.samples)
    frame = wanted - OVERLAP
    while frame > 0 and row.offsets[wanted] - row.offsets[frame] < RESERVOIR:
        frame -= 1
    if frame < 1:
        return None
    total = row.count * row.samples - int(skipped)
    if row.claimed and source.stream.duration:
        total = min(total, round(source.stream.duration * source.tick * source.rate))
    source.open_again(int(row.offsets[frame]))
    return int(frame) * row.samples - int(skipped), total


def _to_packet(source: "Container", begin: int) -> tuple[int, None] | None:
    entries = source.stream.index_entries
    if len(entries) != source.stream.frames:  # fragmented, or changed by an edit list
        return None
    head = [_decoded(packet) for packet in itertools.islice(source.packets, HEAD)]
    step = head[-1] if len(head) == HEAD else 0
    if not step or step != head[-2]:
        return None
    number = HEAD + (begin - sum(head)) // step - math.ceil(Fraction(SETTLE) * source.rate / step)
    if number <= HEAD or number >= len(entries):
        return None
    source.container.seek(entries[number].timestamp, stream=source.stream)
    source.packets = source.container.demux(source.stream)
    packet = next(source.packets, None)
    if packet is None or packet.pos != entries[number].pos:
        return None
    source.packets = itertools.chain([packet], source.packets)
    return sum(head) + (number - HEAD) * step, None


def _decoded(packet) -> int:  # type: ignore[no-untyped-def]
    return sum(frame.samples for frame in packet.decode())
