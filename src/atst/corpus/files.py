"""Unlabelled sound for pre-training: clips by index, read a stretch at a time.

`open_corpus` takes files, folders and manifests, or `synthetic` for the built-in sounds.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from atst.corpus.synthetic import SyntheticCorpus
from atst.errors import AudioError, CorpusError, UsageError
from atst.output.skipped import PARTLY, Skipped
from atst.sound import isolated
from atst.sound.audio import SAMPLE_RATE
from atst.sound.find import Recording, find_audio
from atst.sound.levels import SILENCE
from atst.sound.pool import Pool
from atst.sound.request import Request

SYNTHETIC = "synthetic"
WINDOW_SECONDS = 60.0  # decoded at a time where a header is not enough
A_PROCESS = 100  # files for each further decoding process

Progress = Callable[[Iterable[float | str], str, int], Iterable[float | str]]  # such as `progress.track`


class Corpus(Protocol):
    """Clips of sound. Cheap to pickle and to share with worker processes."""

    seconds: np.ndarray  # float64, one entry a clip
    skipped: list[Skipped]  # files left out: path, reason
    cut: list[Skipped]  # stretches that a manifest ends beyond their file: name, where they end

    def __len__(self) -> int: ...

    def name(self, index: int) -> str:
        """The name of clip `index` in lists: its file, and where it starts if not at 0."""
        ...

    def read(
        self,
        index: int,
        start: float = 0.0,
        duration: float | None = None,
        remarks: list[str] | None = None,
    ) -> np.ndarray:
        """Float32 (N,) at 16 kHz: `duration` s (None: the rest) of clip `index` from its second `start` on.

        Cut at the clip's end; of a file that was cut short there is what there is, and `remarks` says so.
        Raises `AudioError`: unreadable, non-finite, silent (peak below -80 dBFS).
        """
        ...


def open_corpus(
    sources: Iterable[str | os.PathLike[str]],
    clip_seconds: float = 10.0,
    min_seconds: float = 0.5,
    *,
    channel: int | None = None,
    progress: Progress | None = None,
) -> Corpus:
    """The clips of `sources`: a longer file counts as consecutive clips of `clip_seconds`, nothing is copied.

    A file's last piece counts if it has `min_seconds`. All headers are checked; unreadable or too short files
    are left out and listed in `.skipped`. Channels are averaged, or `channel` (from 0) is taken. `synthetic`
    or `synthetic:SIZE` (default 2000) gives the built-in sounds, of 4 s at most. Raises `CorpusError` when
    nothing is left, `UsageError` for a wrong source.
    """
    if not 0 < min_seconds <= clip_seconds:
        raise UsageError(
            f"min_seconds {min_seconds} must be more than 0 and at most clip_seconds {clip_seconds}"
        )
    names = [
        os.fspath(source) for source in ([sources] if isinstance(sources, str | os.PathLike) else sources)
    ]
    built_in = [name for name in names if name.split(":")[0] == SYNTHETIC and not Path(name).exists()]
    if built_in:
        if len(names) > 1:
            raise UsageError(f"'{built_in[0]}' cannot be mixed with other sources")
        return SyntheticCorpus(_synthetic_size(built_in[0]), min(clip_seconds, 4.0))
    return FileCorpus(names, clip_seconds, min_seconds, channel=channel, progress=progress)


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
                self.skipped.append((path, f"{seconds:.2f} s is shorter than min_seconds {min_seconds:g}"))
            else:
                paths.append(os.fsencode(path))
                lengths.append(seconds)
                starts.append(recording.start)
        if not paths:
            some = "; ".join(f"{path}: {reason}" for path, reason in self.skipped[:3])
            raise CorpusError(f"none of {len(found)} files can be used: {some}")
        self._text = np.frombuffer(b"".join(paths), np.uint8)
        self._ends = np.cumsum([len(path) for path in paths])
        self._file, self._start, self.seconds = _cut(np.array(lengths), clip_seconds, min_seconds)
        self._start += np.array(starts)[self._file]

    def __len__(self) -> int:
        return len(self.seconds)

    def path(self, index: int) -> str:
        """The file that clip `index` is in."""
        file = self._file[index]
        return os.fsdecode(self._text[self._ends[file - 1] if file else 0 : self._ends[file]].tobytes())

    def name(self, index: int) -> str:
        """The clip's file, and where it starts if not at 0."""
        return _name(self.path(index), self._start[index])

    def read(
        self,
        index: int,
        start: float = 0.0,
        duration: float | None = None,
        remarks: list[str] | None = None,
    ) -> np.ndarray:
        """As `Corpus.read`."""
        rest = self.seconds[index] - start
        if not (start >= 0 and rest > 0):
            raise AudioError(
                f"{self.name(index)}: start {start:g} s is outside its {self.seconds[index]:g} s"
            )
        stretch = float(rest if duration is None else min(rest, duration))
        begin = float(self._start[index] + start)
        waveform = isolated.read(
            self.path(index), begin, stretch, remarks, channel=self.channel, partial=True
        )
        if np.abs(waveform).max() < SILENCE:
            raise AudioError(
                f"{self.name(index)}: silent (peak below -80 dBFS) in {stretch:.2f} s from {start:g} s"
            )
        return waveform


def _cut(
    lengths: np.ndarray, clip_seconds: float, min_seconds: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """File index (int64), start and length (float64, s) of every clip of files this long."""
    whole = np.floor(lengths / clip_seconds).astype(np.int64)
    count = whole + (lengths - whole * clip_seconds >= min_seconds)
    file = np.repeat(np.arange(len(lengths)), count)
    piece = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    start = piece * clip_seconds
    return file, start, np.minimum(lengths[file] - start, clip_seconds)


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
    cut += [(_name(str(recording.path), start), PARTLY + remark) for remark in remarks]
    return samples / SAMPLE_RATE


def _name(path: str, start: float) -> str:
    return path + (f" from {start:g} s" if start else "")


def _synthetic_size(name: str) -> int:
    size = name.partition(":")[2] or "2000"
    if not size.isdecimal() or int(size) < 1:
        raise UsageError(f"'{name}': expected '{SYNTHETIC}:SIZE' with a whole number of clips")
    return int(size)
