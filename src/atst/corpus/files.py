"""Clips of audio files."""

import os
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from atst.corpus.clips import Progress, check_audible, clip_name, cut_clips, stretch_of, too_short
from atst.errors import AudioError, CorpusError
from atst.output.skipped import PARTLY, Skipped
from atst.sound import isolated
from atst.sound.audio import SAMPLE_RATE
from atst.sound.find import Recording, find_audio
from atst.sound.isolated import Request
from atst.sound.pool import Pool

WINDOW_SECONDS = 60.0  # decoded at a time where a header is not enough
A_PROCESS = 100  # files for each further decoding process


class FileCorpus:
    """Clips of audio files. Holds a few flat arrays, however many files: workers share their memory."""

    def __init__(
        self,
        sources: Sequence[str],
        clip_seconds: float = 10.0,
        min_seconds: float = 0.5,
        *,
        channel: int | None = None,
        progress: Progress | None = None,
    ) -> None:
        paths: list[bytes] = []
        lengths: list[float] = []
        starts: list[float] = []
        self.channel = channel
        found = find_audio(sources)
        self.skipped: list[Skipped] = [*found.skipped]
        self.cut: list[Skipped] = []
        checked: Iterable[float | str] = _lengths(found.recordings, self.cut)
        if progress is not None:
            checked = progress(checked, "reading headers", len(found.recordings))
        for recording, seconds in zip(found.recordings, checked, strict=True):
            path = str(recording.path)
            if isinstance(seconds, str):
                self.skipped.append((path, seconds))
            elif seconds < min_seconds:
                self.skipped.append((path, too_short(seconds, min_seconds)))
            else:
                paths.append(os.fsencode(path))
                lengths.append(seconds)
                starts.append(recording.start)
        if not paths:
            some = "; ".join(f"{path}: {reason}" for path, reason in self.skipped[:3])
            raise CorpusError(f"none of {len(found)} files can be used: {some}")
        self._text = np.frombuffer(b"".join(paths), np.uint8)
        self._ends = np.cumsum([len(path) for path in paths])
        self._file, self._start, self.seconds = cut_clips(np.array(lengths), clip_seconds, min_seconds)
        self._start += np.array(starts)[self._file]

    def __len__(self) -> int:
        return len(self.seconds)

    def path(self, index: int) -> str:
        """The file that clip `index` is in."""
        file = self._file[index]
        return os.fsdecode(self._text[self._ends[file - 1] if file else 0 : self._ends[file]].tobytes())

    def name(self, index: int) -> str:
        """The clip's file, and where it starts if not at 0."""
        return clip_name(self.path(index), self._start[index])

    def read(
        self,
        index: int,
        start: float = 0.0,
        duration: float | None = None,
        remarks: list[str] | None = None,
    ) -> np.ndarray:
        """As `Corpus.read`."""
        stretch = stretch_of(self, index, start, duration)
        begin = float(self._start[index] + start)
        waveform = isolated.read(
            self.path(index), begin, stretch, remarks, channel=self.channel, partial=True
        )
        check_audible(self, index, start, waveform)
        return waveform


def _lengths(recordings: Sequence[Recording], cut: list[Skipped]) -> Iterator[float | str]:
    """For each its length in seconds, or what is wrong with it; `cut` gets those that end early."""
    requests = (Request("info", str(recording.path)) for recording in recordings)
    with Pool(1 + len(recordings) // A_PROCESS) as pool:
        for (_, replies), recording in zip(pool.each(requests), recordings, strict=True):
            try:
                yield _length(recording, next(replies).about["seconds"], cut)
            except AudioError as error:
                yield str(error).removeprefix(f"{recording.path}: ")


def _length(recording: Recording, seconds: float, cut: list[Skipped]) -> float:
    """How long a recording is by its header, or its stretch. Raises `AudioError`.

    What goes beyond the header's length, which is an estimate, is decoded to its real end.
    """
    start, end = recording.start, recording.end
    if start < seconds and (end is None or end <= seconds):
        return (seconds if end is None else end) - start
    remarks: list[str] = []
    stretch = {"start": start, "end": end, "where": recording.where, "partial": True}
    blocks = isolated.stream(recording.path, WINDOW_SECONDS, remarks, **stretch)
    samples = sum(map(len, blocks))
    cut += [(clip_name(str(recording.path), start), PARTLY + remark) for remark in remarks]
    return samples / SAMPLE_RATE
