"""How much sound is missing between two frames that FFmpeg decodes, where a file is damaged.

What follows must stay in its place, so a hole is as long as what was there: counted in bytes where frames
stand one behind the other, by the time stamps where they are exact or where bytes are missing as well.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import av

from atst.sound import flac, mpeg, ogg

if TYPE_CHECKING:
    from atst.sound.ffmpeg import Container

ROWS = {"mp3", "aac", "ac3", "eac3", "amr", "dts"}  # formats of frames one behind the other, nothing between
TAGS = (b"TAG", b"ID3", b"APETAGEX", b"LYRICSBEGIN")  # no frames, and no damage, where files were joined
COUNTS = (b"Xing", b"Info", b"VBRI")  # in the first frame of a joined file, which holds no sound
BETWEEN = 1024  # bytes that Matroska may have between two packets of its only track


class Holes:
    """What was lost since the last good frame."""

    def __init__(self, source: "Container") -> None:
        self.source = source
        self.in_row, self.is_mp3 = source.format in ROWS, source.format == "mp3"
        self.stamped = source.format == "flac" or (source.format == "ogg" and _is_damaged(source))
        self.single = "matroska" in source.format and len(source.container.streams) == 1
        self.end: int | None = None  # the byte after the last packet
        self.origin: float | None = None  # the first frame's stamp, in samples, less its position
        self.flac = flac.stream(source.path, *_part(source)) if source.format == "flac" else None
        if self.flac:
            self.origin = self.flac.origin
        self.good = [0, 0]  # bytes and number of packets that were decoded
        self.lost_bytes = 0
        self.lost = 0  # samples
        self.skipped = False  # whether bytes of Matroska belong to no packet

    def pass_over(self, packet: av.Packet) -> None:
        """Take note of bytes between this packet and the one before."""
        if packet.pos is None:
            return
        between = packet.pos - self.end if self.end is not None else 0
        if between > 0 and self.in_row and not self._is_tag(self._bytes_at_end()):
            self.lost_bytes += between
        if self.is_mp3 and packet.size and memoryview(packet)[0] != 0xFF:
            content = bytes(packet)
            self.lost_bytes += 0 if self._is_tag(content) else mpeg.bytes_before_frame(content)
        self.skipped = self.skipped or (self.single and between > BETWEEN)
        self.end = packet.pos + packet.size

    def lose(self, packet: av.Packet) -> None:
        """Take note of a packet that cannot be decoded."""
        if self.in_row:
            content = bytes(packet)[:256]
            if not self._is_tag(content) and not any(name in content for name in COUNTS):
                self.lost_bytes += packet.size - mpeg.bytes_before_frame(bytes(packet))
        elif packet.size:
            said = round((packet.duration or 0) * self.source.tick * self.source.rate)
            coarse = abs(said - self.source.step) <= 2 * self.source.tick * self.source.rate
            self.lost += self.source.step if coarse or not said else said

    def before(self, packet: av.Packet, frame: av.AudioFrame, at: int) -> int:
        """The samples missing before this frame, the first of its packet, which would begin at `at`."""
        lost = self.lost
        if self.lost_bytes and self.good[1]:
            lost = max(1, round(self.lost_bytes * self.good[1] / self.good[0])) * self.source.step
        asked = self.origin is None or self.stamped or self.skipped
        if asked and (stamp := self._stamp(packet, frame)) is not None:
            if self.origin is None:
                self.origin = stamp - at - lost
            else:
                missing = round(stamp - self.origin) - at
                lost = missing if missing > self.source.step // 2 else lost
        self.lost_bytes, self.lost, self.skipped = 0, 0, False
        self.good[0] += packet.size
        self.good[1] += 1
        return lost

    def _stamp(self, packet: av.Packet, frame: av.AudioFrame) -> float | None:
        """The frame's stamp, in samples; FFmpeg's own is wrong in FLAC next to damage."""
        number = flac.number(self.flac, bytes(memoryview(packet)[:16])) if self.flac else None
        if number is not None or frame.pts is None:
            return number
        return float(frame.pts * self.source.tick * self.source.rate)

    def _bytes_at_end(self) -> bytes:
        with Path(self.source.path).open("rb") as file:
            file.seek(self.end or 0)
            return file.read(16)

    def _is_tag(self, content: bytes) -> bool:
        return self.source.format == "mp3" and content.startswith(TAGS)


def _part(source: "Container") -> tuple[int, int] | tuple[()]:
    return (source.link.begin, source.link.end) if source.link else ()


def _is_damaged(source: "Container") -> bool:
    return any(link.damaged for link in ogg.pages(source.path).links)
