"""Which decoder reads a file.

libsndfile (`sndfile`) reads WAV, FLAC, Ogg and many older formats; MPEG audio and what libsndfile cannot open
goes to FFmpeg (`ffmpeg`). Input is untrusted: nothing is allocated by what a header claims.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Unpack

import numpy as np
import soundfile

from atst.errors import AudioError
from atst.sound import flac, headers, ogg
from atst.sound.ffmpeg import Container
from atst.sound.sndfile import Sndfile
from atst.sound.source import How, Pathlike, Source

RATES = range(4000, 768001)  # Hz; the lower bound keeps a forged header from blowing up the resampled size


@contextlib.contextmanager
def opened(path: Pathlike, **how: Unpack[How]) -> Iterator[Source]:
    """The file's decoder. Whatever is raised about the file while it is open becomes `AudioError`."""
    name = os.fspath(path)
    with _errors_of(name):
        _check_readable(name)
        source = _decoder(name, how.get("partial", False))
        try:
            source.hear(how)
            _check(source)
            yield source
        finally:
            source.close()


@contextlib.contextmanager
def _errors_of(name: str) -> Iterator[None]:
    try:
        yield
    except (AudioError, MemoryError):
        raise
    except Exception as error:  # decoders raise whatever they please
        what = " ".join(str(error).split()) or "no reason given"
        raise AudioError(f"{name}: cannot be decoded ({type(error).__name__}: {what})") from error


def _check_readable(name: str) -> None:
    try:
        with Path(name).open("rb") as file:
            if not file.read(1):
                raise AudioError(f"{name}: empty file")
    except FileNotFoundError as error:
        raise AudioError(f"{name}: no such file") from error
    except IsADirectoryError as error:
        raise AudioError(f"{name}: is a folder, not an audio file") from error
    except (OSError, ValueError) as error:
        reason = " ".join(str(getattr(error, "strerror", None) or error).split())
        raise AudioError(f"{name}: cannot be opened ({reason})") from error


def _check(source: Source) -> None:
    if source.channels < 1 and not source.rate:  # FFmpeg goes by the name of some kinds of file
        raise AudioError(f"{source.path}: not audio in a known format")
    if source.channels < 1:
        raise AudioError(f"{source.path}: its header says 0 channels")
    if source.rate not in RATES:
        raise AudioError(
            f"{source.path}: sample rate {source.rate} Hz is not between {RATES[0]} and {RATES[-1]}"
        )
    if source.channel is not None and not 0 <= source.channel < source.channels:
        raise AudioError(
            f"{source.path}: no channel {source.channel}, it has {source.channels} (the first is 0)"
        )


def _decoder(name: str, partial: bool) -> Source:
    with Path(name).open("rb") as file:
        head = file.read(4)
    links = ogg.pages(name).links if head == ogg.MARK else []
    stream = flac.stream(name) if head[:3] in (b"fLa", b"ID3") else None
    links = stream.links if stream else links
    if len(links) > 1:
        return Chain(name, links)
    if head[:3] == b"ID3" or (head[0] == 0xFF and head[1:2] >= b"\xe0"):
        return Container(name)
    # FFmpeg says where frames are missing, where libsndfile closes the gap, and keeps what comes before zero.
    if stream and not stream.is_mixed and not stream.is_whole:
        return Container(name)
    if any(link.early or (partial and link.damaged) for link in links):
        return Container(name)
    samples = None if stream else headers.samples(name)
    if samples is not None and samples.codec in headers.MPEG:
        return Container(name, samples)
    try:
        return Sndfile(name, samples)
    except soundfile.SoundFileError:
        return Container(name, samples)


class Chain(Source):
    """Ogg or FLAC files one behind the other in one file, as radio recorders write them."""

    exact = False

    def __init__(self, path: str, links: list[ogg.Link]) -> None:
        super().__init__(path)
        self.links = links
        self.current = _of_link(path, links[0])
        self.rate, self.channels = self.current.rate, self.current.channels
        self.format, self.codec = self.current.format, self.current.codec

    def close(self) -> None:
        """Close the file."""
        self.current.close()

    def length(self) -> tuple[float, str]:
        """As `Source.length`; of Ogg as if each link were as long, for its bytes, as the first."""
        if all(link.total for link in self.links):
            return sum(link.total for link in self.links) / self.rate, "header"
        first = self.links[0]
        share = (self.links[-1].end - first.begin) / max(1, first.end - first.begin)
        return self.current.length()[0] * share, "size"

    def blocks(self, begin: int, count: int | None = None) -> Iterator[np.ndarray]:
        """As `Source.blocks`."""
        last = None if count is None else begin + count
        for number, link in enumerate(self.links):
            if number:
                self.current.close()
                self.current = _of_link(self.path, link)
            source = self.current
            if source.rate != self.rate:
                raise AudioError(f"{self.path}: its sample rate changes on the way")
            if self.channel is not None and self.channel >= source.channels:
                raise AudioError(f"{self.path}: no channel {self.channel} in all of it")
            source.hear(self.how)
            start = self.end
            for block in source.blocks(0, None if last is None else max(1, last - start)):
                drop = max(0, begin - self.end)
                self.end += len(block)
                yield block[drop:]
            if last is not None and self.end >= last:
                return


def _of_link(path: str, link: ogg.Link) -> Source:
    with Path(path).open("rb") as file:
        file.seek(link.begin)
        if file.read(4) == flac.MARK:
            return Container(path, link=link)
    try:
        return Sndfile(path, link=link)
    except soundfile.SoundFileError:
        return Container(path, link=link)
