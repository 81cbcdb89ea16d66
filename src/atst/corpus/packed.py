"""Clips of a packed corpus."""

import numpy as np

from atst.corpus.clips import Corpus, clip_name, cut_clips, fitting
from atst.errors import CorpusError
from atst.output.skipped import Skipped
from atst.sound.audio import SAMPLE_RATE
from atst.sound.packed import Packed


class PackedCorpus(Corpus):
    """Clips of a packed corpus: a longer recording counts as consecutive clips, as with files."""

    def __init__(
        self,
        packed: Packed,
        clip_seconds: float,
        min_seconds: float,
        channel: int | None,
        max_duration: float | None = None,
    ) -> None:
        packed.check_channel(channel)
        self.packed, self.channel = packed, channel
        self.cut: list[Skipped] = []
        fits, self.skipped = fitting(packed.seconds, min_seconds, max_duration, packed.path)
        lengths = np.where(fits, packed.seconds, 0.0)
        row, self._start, self.seconds = cut_clips(lengths, clip_seconds, min_seconds)
        self._row = row.astype(np.int32)
        if not len(self.seconds):
            raise CorpusError(
                f"{packed.folder}: no recording has min_seconds {min_seconds:g} and at most max_duration"
            )

    def name(self, index: int) -> str:
        """The clip's recording, and where it starts in its file if not at 0."""
        row = int(self._row[index])
        return clip_name(self.packed.path(row), self._start[index] + self.packed.start[row])

    def waveform(self, index: int, start: float, duration: float, remarks: list[str]) -> np.ndarray:
        """As `Corpus.waveform`."""
        row = int(self._row[index])
        first, last = (
            round(float(self._start[index] + at) * SAMPLE_RATE) for at in (start, start + duration)
        )
        if row in self.packed.remarks:
            remarks.append(self.packed.remarks[row])
        return self.packed.waveform(row, first, max(1, last - first))
