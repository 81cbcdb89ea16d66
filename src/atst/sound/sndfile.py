"""What libsndfile reads: WAV, FLAC, Ogg Vorbis and Opus, AIFF and many older formats."""

import math
import os
from collections.abc import Iterator

import numpy as np
import soundfile

from atst.errors import AudioError
from atst.sound import flac, ogg
from atst.sound.ffmpeg import Container
from atst.sound.headers import Samples
from atst.sound.source import BLOCK, SHORT, Source
from atst.sound.view import View

PCM = {"PCM_S8", "PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW"}
# Pairs of container and codec for which tests/sound/test_matrix.py shows that a stretch read after a seek is
# that of the whole file (libsndfile 1.2.2). Vorbis: not on the last page, see `_safe`.
EXACT = {(kind, codec) for kind in ("WAV", "WAVEX", "RF64", "W64", "AIFF", "AU", "CAF") for codec in PCM}
EXACT |= {("FLAC", codec) for codec in PCM} | {("OGG", "VORBIS"), ("OGG", "OPUS")}


class Sndfile(Source):
    """A file that libsndfile reads, or a part of one."""

    def __init__(self, path: str, samples: Samples | None = None, link: ogg.Link | None = None) -> None:
        super().__init__(path)
        self.samples, self.link = samples, link
        self._open()
        self.rate, self.channels = self.file.samplerate, self.file.channels
        self.format, self.codec = self.file.format, self.file.subtype
        self.exact = (self.format, self.codec) in EXACT
        if self.codec.startswith("MPEG") or not 0 <= self.file.frames < 1 << 60:
            self.close()  # libmpg123 writes to stderr; the others fail on an impossible length
            raise soundfile.SoundFileRuntimeError("better read by FFmpeg")

    def _open(self) -> None:
        if self.samples is not None and (view := self.samples.view(self.path)):
            self.file = soundfile.SoundFile(view)
        elif self.link is not None:
            self.file = soundfile.SoundFile(View(self.path, self.link.begin, self.link.end))
        else:  # a descriptor: by the name alone libsndfile takes text for sound
            self.file = soundfile.SoundFile(os.open(self.path, os.O_RDONLY), closefd=True)

    def close(self) -> None:
        """Close the file."""
        self.file.close()

    def length(self) -> tuple[float, str]:
        """As `Source.length`."""
        return self.file.frames / self.rate, "last page" if self.format == "OGG" else "header"

    def claimed(self) -> float:
        """As `Source.claimed`."""
        if self.samples is not None and self.samples.is_cut:
            return self.samples.claimed / self.samples.bytes_per_second
        return self.length()[0]

    def blocks(self, begin: int, count: int | None = None) -> Iterator[np.ndarray]:
        """As `Source.blocks`."""
        last = None if count is None else begin + count
        if self.format == "OGG":  # libsndfile would close the gap without a word
            granule_rate = 48000 if self.codec == "OPUS" else self.rate
            if what := self._link().damage(granule_rate, begin, last or math.inf):
                self.fault(what)
        self.end = self._seek(begin)
        size = max(1, BLOCK // self.channels)
        try:
            while last is None or self.end < last:
                wanted = size if last is None else min(size, last - self.end)
                block = self.file.read(wanted, "float32", always_2d=True)
                if self.format == "FLAC" and self._is_damaged(block):
                    yield from self._go_on(begin, last)
                    return
                if not len(block):
                    self._check_end()
                    return
                drop = min(len(block), max(0, begin - self.end))
                self.end += len(block)
                yield self.mono(block[drop:])
        except soundfile.SoundFileError:
            yield from self._go_on(begin, last)

    def _seek(self, begin: int) -> int:
        """Where decoding begins, at or before this sample."""
        target = self._safe(min(begin, self.file.frames)) if self.exact else 0
        if target > 0:
            try:
                return int(self.file.seek(target))
            except soundfile.SoundFileError:  # a wrong seek table
                self.file.close()
                self._open()
        return 0

    def _is_damaged(self, block: np.ndarray) -> bool:
        """Whether frames of FLAC are missing in what was decoded last, or after it."""
        early = not len(block) and self.end < self.file.frames
        return early or flac.is_filled(self.path, block, self.end)

    def _link(self) -> ogg.Link:
        return self.link or ogg.pages(self.path).links[0]

    def _safe(self, begin: int) -> int:
        """A sample at or before this one to which the decoder's seek is right.

        On the last page of Ogg Vorbis it comes out late by what is cut off at the end.
        """
        if self.codec != "VORBIS":
            return begin
        granules = self._link().granules
        if len(granules) < 3:
            return 0
        if begin < self.file.frames - (granules[-1] - granules[-2]):
            return begin
        return max(0, self.file.frames - (granules[-1] - granules[-3]))

    def _check_end(self) -> None:
        """Report samples that should follow the last one decoded."""
        is_cut = self.samples.is_cut if self.samples else self.format == "OGG" and ogg.pages(self.path).is_cut
        end = f"its samples end at {self.end / self.rate:.2f} s"
        leeway = 0 if self.format == "FLAC" else SHORT * self.rate  # libsndfile stops at a damaged frame
        if is_cut:
            self.fault(f"truncated, {end}")
        elif self.end < self.file.frames - leeway:
            self.fault(f"truncated or damaged, {end}, not at {self.file.frames / self.rate:.2f} s")
        if self.samples and self.samples.zeros:
            self.remarks.append(f"{self.samples.zeros:.2f} s of zeros at its end left out")

    def _go_on(self, begin: int, last: int | None) -> Iterator[np.ndarray]:
        """FFmpeg counts damaged frames, and decodes more: let it go on where libsndfile gave up."""
        at = max(begin, self.end)
        other = Container(self.path, self.samples, self.link)
        try:
            if other.rate != self.rate:
                raise AudioError(f"{self.path}: its sample rate changes on the way")
            other.hear(self.how)
            yield from other.blocks(at, None if last is None else last - at)
        finally:
            self.end = max(self.end, other.end)
            other.close()
