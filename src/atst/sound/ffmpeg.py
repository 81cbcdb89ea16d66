"""What FFmpeg reads: MP3, M4A, AAC, WebM, the sound tracks of films and of many older formats.

Samples are counted, never taken from time stamps, which are rounded, guessed or wrong in many containers.
"""

import logging
import math
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.audio.plane import AudioPlane

from atst.errors import AudioError
from atst.sound import jump, lengths, ogg
from atst.sound.headers import Samples
from atst.sound.holes import Holes
from atst.sound.ogg import Link
from atst.sound.source import BLOCK, SHORT, Source, damage
from atst.sound.view import View

# Playlists and other formats that would make FFmpeg open further files or addresses are not admitted.
FORMATS = (
    "mov,matroska,webm,aac,mp3,asf,avi,flv,mpegts,mpeg,ogg,wav,w64,flac,aiff,caf,au,amr,ac3,eac3,dts,wv,ape,tta,"
    "tak,mpc,mpc8,shn,dsf,iff,gsm,voc,nistsphere,loas"
)
DTYPES = {"u8": "u1", "s16": "i2", "s32": "i4", "s64": "i8", "flt": "f4", "dbl": "f8"}
TOLERANCE = 2  # frames that may be missing at the end, of at most `LONGEST` samples
LONGEST = 4096
REST = 8192  # bytes after the last frame that cannot be read and are no damage

av.logging.set_level(av.logging.PANIC)  # the error raised says it; FFmpeg's own lines are noise
logging.getLogger("libav").setLevel(logging.CRITICAL)


class Container(Source):
    """The first sound track of anything FFmpeg reads, or of a part of a file."""

    def __init__(self, path: str, samples: Samples | None = None, link: Link | None = None) -> None:
        super().__init__(path)
        self.samples, self.link = samples, link
        self._open()
        if getattr(self.stream, "codec_context", None) is None:
            self.close()
            raise AudioError(f"{path}: no decoder for its sound track")
        self.format, self.codec = self.container.format.name, self.stream.codec_context.name
        self.rate, self.channels = self.stream.rate or 0, self.stream.channels
        self.exact = jump.is_exact(self)
        self.step = 0  # samples of the longest frame so far
        self.broken = False  # whether reading ended by an error
        self.last_byte = 0  # after the last packet

    def open_again(self, at: int = 0) -> None:
        """Open it again, or its frames, of which one begins at byte `at`, as a file of the same format."""
        self.close()
        self._open(at)

    def _open(self, at: int = 0) -> None:
        if at:
            self.view: View | None = View(self.path, at)
        elif self.link:
            self.view = View(self.path, self.link.begin, self.link.end)
        else:
            self.view = self.samples.view(self.path) if self.samples else None
        if not _is_what_its_name_says(self.path):
            raise AudioError(f"{self.path}: not audio in a known format")
        where, options = self.view or "file:" + self.path, {"format_whitelist": FORMATS}
        kind = self.format if at else None
        try:
            self.container = av.open(where, "r", kind, metadata_errors="ignore", container_options=options)
        except (av.FFmpegError, ValueError) as error:
            if self.view is not None:
                self.view.close()
            raise AudioError(f"{self.path}: {self._why()}") from error
        self._take_track()

    def _why(self) -> str:
        """What is wrong with a file that cannot be opened."""
        with Path(self.path).open("rb") as file:
            head = file.read(8)
        if head[4:] in (b"ftyp", b"mdat", b"moov") or head[:4] == b"caff":
            return "truncated or damaged: the index of its frames is missing"
        return "not audio in a known format"

    def _take_track(self) -> None:
        if not self.container.streams.audio:
            self.close()
            raise AudioError(f"{self.path}: no sound track")
        self.stream = self.container.streams.audio[0]
        if self.container.format.name == "flac":  # frames with a wrong checksum are left out
            self.stream.codec_context.options = {"err_detect": "crccheck+explode"}
        self.tick = self.stream.time_base or Fraction(1, av.time_base)  # s
        self.packets: Iterator[av.Packet] = self.container.demux(self.stream)

    def close(self) -> None:
        """Close the file."""
        self.container.close()
        if self.view is not None:
            self.view.close()

    def length(self) -> tuple[float, str]:
        """As `Source.length`."""
        return lengths.length(self)

    def blocks(self, begin: int, count: int | None = None) -> Iterator[np.ndarray]:
        """As `Source.blocks`."""
        last = math.inf if count is None else begin + count
        first, total = jump.to(self, begin) if self.exact and begin else (0, None)
        last = last if total is None else min(last, total)
        if self.format == "ogg" and not self.partial:
            link = self.link or ogg.pages(self.path).links[0]
            if what := link.damage(48000 if self.codec == "opus" else self.rate, begin, last):
                self.fault(what)
        sound = self._sound(first, begin)
        if "mov" in self.format and total is None:
            sound = self._without_padding(sound)
        ready: list[np.ndarray] = []
        values = 0
        for at, samples in sound:
            self.end = at + len(samples)
            piece = samples[max(0, begin - at) : int(min(len(samples), max(0, last - at)))]
            if values >= BLOCK or (ready and _kind(piece) != _kind(ready[0])):
                yield self.mono(np.concatenate(ready))
                ready, values = [], 0
            ready.append(piece)
            values += piece.size
            if self.end >= last:
                break
        if ready:
            yield self.mono(np.concatenate(ready))
        if self.end < last:
            self._check_end()

    def _sound(self, at: int, begin: int) -> Iterator[tuple[int, np.ndarray]]:
        """Each frame's position and samples (n, C); a damaged frame with `partial` is silence."""
        seen = 0
        damaged: list[int] = []  # their positions
        holes = Holes(self)
        try:
            for packet in self.packets:
                seen += packet.size > 0
                holes.pass_over(packet)
                self.last_byte = holes.end or 0
                try:
                    frames: list[Any] = packet.decode()
                except (av.FFmpegError, ValueError):
                    holes.lose(packet)
                    continue
                for number, frame in enumerate(frames):
                    samples = self._samples(frame)
                    lost = 0 if number else holes.before(packet, frame, at)
                    if lost:
                        if at + lost > begin:
                            damaged += [at] * max(1, round(lost / max(1, self.step)))
                        if self.partial:
                            yield at, np.zeros((lost, samples.shape[1]), "f4")
                        at += lost
                    if self.partial or not damaged:
                        yield at, samples
                    at += len(samples)
        except av.FFmpegError:
            self.broken = True
        finally:
            if damaged:
                places = [at / self.rate for at in damaged]
                self.fault(damage("frames", places, max(seen, len(damaged))))

    def _samples(self, frame: av.AudioFrame) -> np.ndarray:
        """(n, C) in the frame's own sample format."""
        if frame.sample_rate != self.rate:
            raise AudioError(f"{self.path}: its sample rate changes on the way")
        values = _values(frame)
        self.step = max(self.step, len(values))
        return values

    def _without_padding(self, sound: Iterator[tuple[int, np.ndarray]]) -> Iterator[tuple[int, np.ndarray]]:
        """Less than a frame beyond the length that MP4 gives is its encoder's padding."""
        limit: float = round((self.stream.duration or 0) * self.tick * self.rate) or math.inf
        held: list[tuple[int, np.ndarray]] = []
        for at, samples in sound:
            keep = int(min(len(samples), max(0, limit - at)))
            if keep:
                yield at, samples[:keep]
            if keep < len(samples):
                held.append((at + keep, samples[keep:]))
                if sum(len(rest) for _, rest in held) >= self.step:
                    yield from held
                    held, limit = [], math.inf

    def _check_end(self) -> None:
        """Report sound that should follow the last sample decoded."""
        claimed = lengths.claimed(self)
        leeway = max(SHORT * self.rate, TOLERANCE * min(self.step, LONGEST))
        if self.format == "flac":  # counted, not rounded
            leeway = 0
        end = f"its samples end at {self.end / self.rate:.2f} s"
        if lengths.is_cut(self):
            self.fault(f"truncated, {end}")
        elif claimed and claimed - self.end > leeway:
            self.fault(f"truncated or damaged, {end}, not at {claimed / self.rate:.2f} s")
        elif self.broken and not claimed and Path(self.path).stat().st_size - self.last_byte > REST:
            self.fault(f"damaged, {end}")
        if self.samples and self.samples.zeros:
            self.remarks.append(f"{self.samples.zeros:.2f} s of zeros at its end left out")


def _is_what_its_name_says(path: str) -> bool:
    """Whether a file named `.gsm` or `.shn`, which FFmpeg believes by its name alone, is one."""
    with Path(path).open("rb") as file:
        head = file.read(4)
    ending = Path(path).suffix.lower()
    return (ending != ".gsm" or head[0] >> 4 == 0xD) and (ending != ".shn" or head == b"ajkg")


def _values(frame: av.AudioFrame) -> np.ndarray:
    """(n, C) in the frame's own sample format.

    PyAV's own `planes` goes on until a null pointer, beyond the planes of a frame with many channels.
    """
    channels, kind = frame.layout.nb_channels, frame.format.name
    dtype = DTYPES[kind.removesuffix("p")]
    if not frame.format.is_planar:
        packed = memoryview(AudioPlane(frame, 0))
        return np.frombuffer(packed, dtype, frame.samples * channels).reshape(-1, channels)
    planes = [memoryview(AudioPlane(frame, number)) for number in range(channels)]
    rows = [np.frombuffer(plane, dtype, frame.samples) for plane in planes]
    return rows[0][:, None] if channels == 1 else np.stack(rows, axis=1)


def _kind(samples: np.ndarray) -> tuple[np.dtype, int]:
    return samples.dtype, samples.shape[1]
