"""The decoders behind `audio`: an open file that gives its samples block by block from any position on.

libsndfile (`soundfile`) reads wav, flac, ogg, opus and many older formats; mp3 and what libsndfile cannot
open goes to FFmpeg (`av`): m4a, aac, webm, the sound tracks of mp4 and of other containers. Input is
untrusted: nothing is allocated by what a header claims, and playlists and other formats that would make
FFmpeg open further files or addresses are not admitted.
"""

import itertools
import logging
import math
import os
import re
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import soundfile

from atst.errors import AudioError

RATES = range(4000, 768001)  # Hz; the lower bound keeps a forged header from blowing up the resampled size
BLOCK = 1 << 20  # values decoded at a time
SETTLE = 0.5  # s decoded and dropped after a seek: mp3's bit reservoir reaches back this far at low rates
FIXED = ("opus", "aac", "mp3")  # codecs whose frames are equally long, so that they end on a known grid
FORMATS = "mov,matroska,webm,aac,mp3,asf,avi,flv,mpegts,mpeg,ogg,wav,w64,flac,aiff,caf,au,amr,ac3,wv,ape,tta"

av.logging.set_level(av.logging.PANIC)  # the error raised says it; FFmpeg's own lines are noise
logging.getLogger("libav").setLevel(logging.CRITICAL)

Pathlike = str | os.PathLike[str]


def open_source(path: Pathlike, channel: int | None = None) -> "Source":
    """The file's decoder, to be closed after use. Raises `AudioError`, file name first."""
    name = os.fspath(path)
    try:
        with Path(name).open("rb") as file:
            if not file.read(1):
                raise AudioError(f"{name}: empty file")
    except FileNotFoundError as error:
        raise AudioError(f"{name}: no such file") from error
    except IsADirectoryError as error:
        raise AudioError(f"{name}: is a folder, not an audio file") from error
    except (OSError, ValueError) as error:
        raise AudioError(f"{name}: cannot be opened ({_one_line(error)})") from error
    source: Source
    try:
        source = Container(name) if name.lower().endswith(".mp3") else Sndfile(name)
    except soundfile.SoundFileError:
        source = Container(name)
    if source.rate not in RATES or source.channels < 1:
        source.close()
        raise AudioError(f"{name}: sample rate {source.rate} Hz is not between {RATES[0]} and {RATES[-1]}")
    if channel is not None and not 0 <= channel < source.channels:
        source.close()
        raise AudioError(f"{name}: no channel {channel}, it has {source.channels} (the first is 0)")
    source.channel = channel
    return source


class Source:
    """An open file: `frames` by its header, `rate` in Hz, `channels`, and mono samples from anywhere."""

    path: str
    frames: int
    rate: int
    channels: int
    format: str
    codec: str
    channel: int | None = None  # None: their mean

    def close(self) -> None:
        """Let go of the file."""
        raise NotImplementedError

    def blocks(self, begin: int, count: int | None = None) -> Iterator[np.ndarray]:
        """Float32 (n,), not resampled: `count` samples (None: all) from `begin` on, or those there are."""
        raise NotImplementedError

    def is_cut(self) -> bool:
        """Whether the file's structure shows that its end is missing."""
        return False


class Sndfile(Source):
    """A file that libsndfile reads. Its seeks are sample-exact, lossy formats included."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.file = soundfile.SoundFile(os.fsencode(path))  # as bytes: a name may be no UTF-8
        self.frames, self.rate, self.channels = self.file.frames, self.file.samplerate, self.file.channels
        self.format, self.codec = self.file.format, self.file.subtype
        # libmpg123 warns on stderr at every seek, and a stream of unknown length has no usable `frames`.
        if self.file.format == "MP3" or self.frames > 1 << 60:
            self.file.close()
            raise soundfile.SoundFileRuntimeError("better read by FFmpeg")

    def close(self) -> None:
        """Let go of the file."""
        self.file.close()

    def blocks(self, begin: int, count: int | None = None) -> Iterator[np.ndarray]:
        """As `Source.blocks`."""
        try:
            self.file.seek(min(begin, self.frames))
            left = self.frames if count is None else count
            size = max(1, BLOCK // self.channels)
            while left > 0 and len(block := self.file.read(min(size, left), "float32", always_2d=True)):
                yield mono_float(block, self.channel)
                left -= len(block)
        except soundfile.SoundFileError as error:
            raise AudioError(f"{self.path}: truncated or damaged ({_one_line(error)})") from error

    def is_cut(self) -> bool:
        """Whether the last Ogg page, or a wav or aiff file's sample data, should go on beyond its end."""
        if self.file.format == "OGG":
            return _last_ogg_page_is_cut(self.path)
        for claimed, there in re.findall(r"(?:data|SSND) : (\d+) \(should be (\d+)\)", self.file.extra_info):
            if int(there) < int(claimed) < 0xFFFFFF00:  # more: the writer streamed and could not know
                return True
        return False


class Container(Source):
    """The first sound track of anything FFmpeg reads."""

    def __init__(self, path: str) -> None:
        self.path = path
        options = {"format_whitelist": FORMATS}
        try:
            self.container = av.open("file:" + path, metadata_errors="ignore", container_options=options)
        except (av.FFmpegError, ValueError) as error:
            raise AudioError(f"{path}: not audio in a known format") from error
        if not self.container.streams.audio:
            self.close()
            raise AudioError(f"{path}: no sound track")
        self.stream = self.container.streams.audio[0]
        self.format, self.codec = self.container.format.name, self.stream.codec_context.name
        self.rate, self.channels = self.stream.rate or 0, self.stream.channels
        self.tick = self.stream.time_base or Fraction(1, av.time_base)  # s
        try:
            header = self._header_seconds()
            self.frames = round((self._packets_seconds() if header is None else header) * self.rate)
        except (av.FFmpegError, ValueError) as error:
            self.close()
            raise AudioError(f"{path}: not audio that can be decoded ({_one_line(error)})") from error

    def close(self) -> None:
        """Let go of the file."""
        self.container.close()

    def _header_seconds(self) -> Fraction | None:
        """Length by the header; None where that is a guess from the bit rate, or another track's length."""
        formats = self.container.format.name.split(",")
        exact = "mov" in formats or "flac" in formats or ("mp3" in formats and self._has_frame_count())
        if exact and self.stream.duration:
            return self.stream.duration * self.tick
        if tag := re.fullmatch(r"(\d+):(\d+):([\d.]+)", self.stream.metadata.get("DURATION", "")):
            return int(tag[1]) * 3600 + int(tag[2]) * 60 + Fraction(tag[3])
        if "matroska" in formats and len(self.container.streams) == 1 and self.container.duration:
            return Fraction(self.container.duration, av.time_base)
        return None

    def _has_frame_count(self) -> bool:
        """Whether an mp3 file's first frame is the Xing, Info or VBRI header, which counts the frames."""
        packet = next(self.container.demux(self.stream))
        self.container.seek(0)
        with Path(self.path).open("rb") as file:
            file.seek(max(0, (packet.pos or 0) - 2048))
            head = file.read(2048)
        return any(tag in head for tag in (b"Xing", b"Info", b"VBRI"))

    def _packets_seconds(self) -> Fraction:
        """Length by the time stamps of all packets, which are read and not decoded."""
        packets = self.container.demux(self.stream)
        spans = [(p.pts, p.pts + (p.duration or 0)) for p in packets if p.pts is not None]
        self.container.seek(0)
        return (max(s[1] for s in spans) - min(s[0] for s in spans)) * self.tick if spans else Fraction(0)

    def blocks(self, begin: int, count: int | None = None) -> Iterator[np.ndarray]:
        """As `Source.blocks`."""
        try:
            position, frames = self._seek(begin)
            end = math.inf if count is None else begin + count
            if (
                "mov" in self.container.format.name
            ):  # what it holds beyond its length is the encoder's padding
                end = min(end, self.frames)
            for frame in frames:
                if frame.sample_rate != self.rate:
                    raise AudioError(f"{self.path}: its sample rate changes on the way")
                stop = max(0, int(min(frame.samples, end - position)))
                yield mono_float(_samples(frame)[max(0, begin - position) : stop], self.channel)
                position += frame.samples
                if position >= end:
                    break
        except (av.FFmpegError, ValueError) as error:
            raise AudioError(f"{self.path}: truncated or damaged ({_one_line(error)})") from error

    def _seek(self, begin: int) -> tuple[int, Iterator[av.AudioFrame]]:
        """The sample position, at or before `begin`, where decoding goes on, and the frames from there."""
        decoded = self.container.decode(self.stream)
        head = list(itertools.islice(decoded, 2))
        if begin < 2 * self.rate or len(head) < 2 or any(frame.pts is None for frame in head):
            return 0, itertools.chain(head, decoded)
        origin = head[0].pts or 0
        target = (Fraction(begin, self.rate) - Fraction(SETTLE)) / self.tick
        self.container.seek(origin + int(target), stream=self.stream)
        decoded = self.container.decode(self.stream)
        first = next(decoded, None)
        coarse = self.tick * self.rate > 1  # time stamps do not tell the sample (webm: 1 ms)
        gridded = self.stream.codec_context.codec.canonical_name in FIXED
        if first is not None and first.pts is not None and (gridded or not coarse):
            end = round((first.pts - origin) * self.tick * self.rate) + first.samples
            if coarse:
                step = head[1].samples
                end = head[0].samples + round((end - head[0].samples) / step) * step
            if 0 <= end - first.samples <= begin:
                return end - first.samples, itertools.chain([first], decoded)
        self.container.seek(origin, stream=self.stream)  # the seek went astray: decode from the start
        return 0, self.container.decode(self.stream)


def mono_float(samples: np.ndarray, channel: int | None = None) -> np.ndarray:
    """(N, C) of any sample format as float32 (N,): the channel of that number, or the mean."""
    if channel is not None:
        samples = samples[:, channel : channel + 1]
    if samples.dtype == np.uint8:
        samples = (samples.astype(np.float32) - 128) / 128
    elif np.issubdtype(samples.dtype, np.signedinteger):
        samples = (samples / -float(np.iinfo(samples.dtype).min)).astype(np.float32)
    with np.errstate(over="ignore", invalid="ignore"):  # non-finite results are reported as such
        samples = samples.astype(np.float32, copy=False)
        return samples[:, 0] if samples.shape[1] == 1 else samples.mean(axis=1)


def _samples(frame: av.AudioFrame) -> np.ndarray:
    """(N, C) in the frame's own sample format."""
    values = frame.to_ndarray()  # planar: (C, N); packed: (1, N * C)
    return values.T if frame.format.is_planar else values.reshape(frame.samples, -1)


def _last_ogg_page_is_cut(path: str) -> bool:
    with Path(path).open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - 65536))  # a page has at most 65307 bytes
        tail = file.read()
    start = tail.rfind(b"OggS")
    if start < 0:
        return False
    page = tail[start:]
    if len(page) < 27 or len(page) < 27 + page[26]:
        return True
    return len(page) < 27 + page[26] + sum(page[27 : 27 + page[26]])


def _one_line(error: Exception) -> str:
    return " ".join(str(getattr(error, "strerror", None) or error).split())
