"""Recordings become a packed corpus, in one pass and in order."""

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atst import __version__
from atst.corpus.shards import ShardWriter
from atst.errors import AudioError
from atst.output.skipped import PARTLY, Skipped
from atst.output.text import path_text
from atst.sound.audio import SAMPLE_RATE
from atst.sound.messages import Reply
from atst.sound.packed import FORMAT, FULL_SCALE
from atst.sound.pool import Pool
from atst.sound.recording import Recording
from atst.sound.windows import request

IN_MEMORY = 64 << 20  # bytes of a recording that wait in memory for its peak: 17 minutes
BLOCK = 4 << 20  # bytes that are converted at a time


class Packing:
    """The packing of recordings into a folder; goes on where an interrupted one ended.

    `base` is the folder that paths in the index are relative to, `how` goes to `audio.stream`. Raises
    `UsageError` if an interrupted packing was one of other recordings or settings.
    """

    def __init__(
        self, recordings: Sequence[Recording], base: Path, folder: Path, how: dict[str, Any]
    ) -> None:
        self.recordings, self.base = recordings, base
        self.how = how
        sources = {"sources": _digest(recordings, base)}
        self.writer = ShardWriter(folder, {"packed_corpus": FORMAT, **sources, **self.how})

    def run(self) -> Iterator[None]:
        """Pack everything; yields after each recording, also for those that were packed before."""
        for _ in range(self.writer.done):
            yield
        rest = self.recordings[self.writer.done :]
        requests = (request("pack", recording, self.how) for recording in rest)
        try:
            with Pool(len(rest)) as pool:
                for (_, replies), recording in zip(pool.each(requests), rest, strict=True):
                    try:
                        self.writer.add(self._packed(recording, replies))
                    except AudioError as error:
                        reason = str(error).removeprefix(f"{recording.path}: ")
                        self.writer.add({"skipped": path_text(recording.path), "reason": reason})
                    yield
        finally:
            self.writer.close()

    def finish(self) -> "Packed":
        """Write the index; what is in the corpus. Nothing is left of a corpus without any recording."""
        skipped: list[Skipped] = []
        packed = Packed(0, 0.0, 0, 0, skipped)
        for entry in self.writer.entries():
            if "skipped" in entry:
                skipped.append((entry["skipped"], entry["reason"]))
                continue
            if entry["remark"]:
                skipped.append((entry["file"], PARTLY + entry["remark"]))
            packed.recordings += 1
            packed.seconds += entry["samples"] / SAMPLE_RATE
            packed.beyond += entry["beyond"]
            packed.scaled += entry["beyond"] > 0
        if packed.recordings:
            self.writer.finish({"atst": __version__, "packed_corpus": FORMAT, "channel": self.how["channel"]})
        else:
            self.writer.discard()
        return packed

    def _packed(self, recording: Recording, replies: Iterator[Reply]) -> dict[str, Any]:
        """Write a recording to the shards; its row of the index. Raises `AudioError`."""
        about = next(replies).about
        with SpooledTemporaryFile(IN_MEMORY, dir=str(self.writer.folder)) as spool:
            samples, low, high, beyond, last = 0, 0.0, 0.0, 0, None
            for last in replies:
                scaled = last.waveform * np.float32(FULL_SCALE)
                spool.write(scaled.data)
                low, high = min(low, float(scaled.min())), max(high, float(scaled.max()))
                beyond += int(_is_beyond(scaled).sum())
                samples += len(scaled)
            assert last is not None, "a recording without samples is an error"
            factor = _factor(low, high) if beyond else np.float32(1)
            spool.seek(0)
            place = self.writer.append(_quantised(spool, factor), samples)
        return {
            "path": path_text(Path(_name(recording, self.base))),
            "start": recording.start,
            "end": recording.start + samples / SAMPLE_RATE,
            "sample_rate": about["sample_rate"],
            "samples": samples,
            **place,
            "factor": float(factor),
            "beyond": beyond,
            "high": last.high,
            "remark": "; ".join(last.remarks),
            "file": path_text(recording.path),
            "row": recording.row or {},
        }


@dataclass
class Packed:
    """What is in a packed corpus."""

    recordings: int
    seconds: float
    beyond: int  # samples beyond full scale
    scaled: int  # recordings with any
    skipped: list[Skipped]  # recordings that are not in it, or partly


def base_folder(sources: Iterable[str | os.PathLike[str]]) -> Path:
    """The deepest folder that all sources are in, a folder being in itself, a manifest in its folder."""
    paths = [Path(os.path.abspath(source)) for source in sources]  # noqa: PTH100 - links stay as they are
    return Path(os.path.commonpath([path if path.is_dir() else path.parent for path in paths]))


def _name(recording: Recording, base: Path) -> str:
    return Path(os.path.relpath(recording.path, base)).as_posix()


def _digest(recordings: Sequence[Recording], base: Path) -> str:
    """What tells these recordings, as they are, from others."""
    digest = hashlib.sha256()
    for recording in recordings:
        _, *state = recording.state()
        digest.update(repr((_name(recording, base), state, sorted((recording.row or {}).items()))).encode())
    return digest.hexdigest()[:32]


def _is_beyond(scaled: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Which samples no 16-bit number is next to, full scale being 32768."""
    rounded = np.rint(scaled)
    return (rounded > FULL_SCALE - 1) | (rounded < -FULL_SCALE)


def _factor(low: float, high: float) -> np.float32:
    """The smallest number by which samples from `low` to `high` must be divided to be in range."""
    exact = max(high / (FULL_SCALE - 1), low / -FULL_SCALE)
    factor = np.float32(exact)
    return factor if factor >= exact else np.nextafter(factor, np.float32(np.inf))


def _quantised(spool: Any, factor: np.float32) -> Iterator[NDArray[np.int16]]:
    """The samples (float32, full scale 32768) in a file, divided by `factor`, as 16-bit numbers."""
    while block := spool.read(BLOCK):
        yield np.rint(np.frombuffer(block, np.float32) / factor).astype(np.int16)
