"""What a user names as unlabelled sound becomes one corpus."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from atst.cores import release_memory
from atst.corpus.clips import Corpus, Progress
from atst.corpus.files import FileCorpus
from atst.corpus.packed import PackedCorpus
from atst.corpus.synthetic import SyntheticCorpus
from atst.errors import UsageError
from atst.output.skipped import Skipped
from atst.sound.packed import open_packed

SYNTHETIC = "synthetic"


def open_corpus(
    sources: Iterable[str | os.PathLike[str]],
    clip_seconds: float = 10.0,
    min_seconds: float = 0.5,
    *,
    channel: int | None = None,
    max_duration: float | None = None,
    progress: Progress | None = None,
) -> Corpus:
    """The clips of files, folders, manifests and packed corpora.

    A longer recording counts as consecutive clips of `clip_seconds`, nothing is copied. Its last piece counts
    if it has `min_seconds`. The headers of files are checked; unreadable or too short files are left out and
    listed in `.skipped`, and so are recordings of more than `max_duration` seconds. Channels are averaged,
    or `channel` (from 0) is taken. `synthetic` or `synthetic:SIZE` (default 2000) gives the built-in sounds,
    of 4 s at most. Raises `CorpusError` when nothing is left, `UsageError` for a wrong source.
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
    packed = {name: corpus for name in names if (corpus := open_packed(name)) is not None}
    parts: list[Corpus] = [
        PackedCorpus(corpus, clip_seconds, min_seconds, channel, max_duration) for corpus in packed.values()
    ]
    if files := [name for name in names if name not in packed]:
        found = FileCorpus(
            files, clip_seconds, min_seconds, channel=channel, max_duration=max_duration, progress=progress
        )
        parts.append(found)
    pa.default_memory_pool().release_unused()
    release_memory()  # with a million files it is more than what stays
    return parts[0] if len(parts) == 1 else Joined(parts)


class Joined(Corpus):
    """The clips of several corpora, one corpus after the other."""

    def __init__(self, parts: Sequence[Corpus]) -> None:
        self.parts = parts
        self.seconds = np.concatenate([part.seconds for part in parts])
        self.skipped: list[Skipped] = [entry for part in parts for entry in part.skipped]
        self.cut: list[Skipped] = [entry for part in parts for entry in part.cut]
        self.channel: int | None = getattr(parts[0], "channel", None)
        self._ends = np.cumsum([len(part) for part in parts])

    def name(self, index: int) -> str:
        """As `Corpus.name`."""
        part, index = self._place(index)
        return part.name(index)

    def waveform(self, index: int, start: float, duration: float, remarks: list[str]) -> np.ndarray:
        """As `Corpus.waveform`."""
        part, index = self._place(index)
        return part.waveform(index, start, duration, remarks)

    def _place(self, index: int) -> tuple[Corpus, int]:
        """The corpus that a clip is in, and its index there."""
        number = int(np.searchsorted(self._ends, index, side="right"))
        return self.parts[number], index - (int(self._ends[number - 1]) if number else 0)


class Subset(Corpus):
    """`size` clips of a corpus, drawn by a seed; all of them if it has no more."""

    def __init__(self, whole: Corpus, size: int, seed: int) -> None:
        self.whole = whole
        drawn = np.random.default_rng(seed).choice(len(whole), min(size, len(whole)), replace=False)
        self.chosen = np.sort(drawn)
        self.seconds = whole.seconds[self.chosen]
        self.skipped, self.cut = whole.skipped, whole.cut
        self.channel: int | None = getattr(whole, "channel", None)

    def name(self, index: int) -> str:
        """As `Corpus.name`."""
        return self.whole.name(int(self.chosen[index]))

    def waveform(self, index: int, start: float, duration: float, remarks: list[str]) -> np.ndarray:
        """As `Corpus.waveform`."""
        return self.whole.waveform(int(self.chosen[index]), start, duration, remarks)


def _synthetic_size(name: str) -> int:
    size = name.partition(":")[2] or "2000"
    if not size.isdecimal() or int(size) < 1:
        raise UsageError(f"'{name}': expected '{SYNTHETIC}:SIZE' with a whole number of clips")
    return int(size)
