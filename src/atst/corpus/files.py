"""Clips of audio files."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from atst.corpus.clips import Corpus, Progress, clip_name, cut_clips, fitting
from atst.corpus.headers import lengths
from atst.corpus.listing import listed
from atst.errors import AudioError, CorpusError
from atst.output.skipped import PARTLY, Skipped
from atst.sound import isolated
from atst.sound.audio import SAMPLE_RATE
from atst.sound.recording import Recording
from atst.sound.windows import WINDOW_SECONDS


class FileCorpus(Corpus):
    """Clips of audio files. Holds a few flat arrays, however many files: workers share their memory."""

    def __init__(
        self,
        sources: Sequence[str],
        clip_seconds: float = 10.0,
        min_seconds: float = 0.5,
        *,
        channel: int | None = None,
        max_duration: float | None = None,
        progress: Progress | None = None,
    ) -> None:
        self.channel, self.max_duration = channel, max_duration
        self.skipped: list[Skipped] = []
        self.cut: list[Skipped] = []
        self._files = [listed(Path(source)) for source in sources]
        self._ends = np.cumsum([len(files) for files in self._files])
        keys = np.concatenate([files.keys for files in self._files])
        first = np.zeros(len(keys), bool)  # whether no file before it is the same
        first[np.unique(keys, return_index=True)[1]] = True
        seconds, start = self._lengths(first, progress)
        fits, skipped = fitting(seconds, min_seconds, max_duration, self._path, first)
        self.skipped += skipped
        used = np.flatnonzero(first & fits)
        if not len(used):
            some = "; ".join(f"{path}: {reason}" for path, reason in self.skipped[:3])
            raise CorpusError(f"none of {len(self.skipped)} files can be used: {some}")
        row, self._start, self.seconds = cut_clips(seconds[used], clip_seconds, min_seconds)
        self._file = used[row].astype(np.int32)
        self._start += start[self._file]
        for files in self._files:
            files.forget()

    def path(self, index: int) -> str:
        """The file that clip `index` is in."""
        return self._path(int(self._file[index]))

    def name(self, index: int) -> str:
        """The clip's file, and where it starts if not at 0."""
        return clip_name(self.path(index), self._start[index])

    def waveform(self, index: int, start: float, duration: float, remarks: list[str]) -> np.ndarray:
        """As `Corpus.waveform`."""
        begin = float(self._start[index] + start)
        return isolated.read(self.path(index), begin, duration, remarks, channel=self.channel, partial=True)

    def _path(self, file: int) -> str:
        source = int(np.searchsorted(self._ends, file, side="right"))
        return self._files[source].path(file - (int(self._ends[source - 1]) if source else 0))

    def _lengths(self, first: np.ndarray, progress: Progress | None) -> tuple[np.ndarray, np.ndarray]:
        """The lengths of all files, or stretches, in seconds (NaN: unreadable), and where they start."""
        seconds, start, at = np.zeros(len(first)), np.zeros(len(first)), 0
        for files in self._files:
            self.skipped += files.skipped
            headers, reasons = lengths(files, progress)
            looked_at = ~np.isnan(headers) if files.recordings else headers <= 0
            for file in np.flatnonzero(looked_at).tolist():
                recording = files.recordings[file] if files.recordings else Recording(Path(files.path(file)))
                start[at + file] = recording.start
                try:
                    headers[file] = _length(recording, float(headers[file]), self.cut, self.max_duration)
                except AudioError as error:
                    headers[file] = np.nan
                    reasons[file] = str(error).removeprefix(f"{recording.path}: ")
            self.skipped += [(files.path(file), why) for file, why in reasons.items() if first[at + file]]
            seconds[at : at + len(files)] = headers
            at += len(files)
        return seconds, start


def _length(recording: Recording, seconds: float, cut: list[Skipped], max_duration: float | None) -> float:
    """How long a recording is by its header, or its stretch. Raises `AudioError`.

    What goes beyond the header's length, which is an estimate, is decoded to its real end.
    """
    start, end = recording.start, recording.end
    if start < seconds and (end is None or end <= seconds):
        return (seconds if end is None else end) - start
    remarks: list[str] = []
    stretch = {"start": start, "end": end, "where": recording.where, "max_duration": max_duration}
    blocks = isolated.stream(recording.path, WINDOW_SECONDS, remarks, partial=True, **stretch)
    samples = sum(map(len, blocks))
    cut += [(clip_name(str(recording.path), start), PARTLY + remark) for remark in remarks]
    return samples / SAMPLE_RATE
