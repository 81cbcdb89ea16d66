"""Frozen features of a task's clips, computed once and kept on disk."""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs
from numpy.typing import NDArray

from atst.errors import AtstError, AudioError, UsageError
from atst.evaluation.store import Store, Vectors
from atst.output.progress import track
from atst.scoring.clips import CLIP_SECONDS
from atst.sound.audio import SAMPLE_RATE
from atst.sound.levels import say_high
from atst.tasks import Task
from atst.tasks.reading import Clip, read_clips

POOLING = "published"
SHARD = 128  # clips embedded, and written to the cache, at a time; an interruption loses no more
VERSION = 1  # of what features mean; counted up, it makes old caches unused


@dataclass
class Features:
    """Features of the readable clips of a task."""

    values: NDArray[np.float32] | Vectors  # (n, D), on disk if it is large
    rows: NDArray[np.int64]  # (n,) index of each in the task
    skipped: list[tuple[str, str]]  # (clip, reason) of the unreadable ones
    partial: list[tuple[str, str]] = field(default_factory=list)  # (clip, what is missing) of those cut short


def extract(model: Any, task: Task, cache: bool = True) -> Features:
    """Embed the middle 12 s of every clip: all blocks' CLS and mean tokens, pooled as published.

    Clips that cannot be read are skipped and listed. With `cache`, what was computed before for the same
    audio, model and settings is read back, and features of more than 1 GiB stay on disk. Raises
    `AtstError` if no clip of a split or a fold is left.
    """
    # What is missing of a recording is known when it is read: the cache would hide it.
    kept: Store | _Unkept = store(model) if cache and not task.partial else _Unkept()
    keys: dict[int, str] = {}  # of clips
    faults: dict[int, str] = {}  # why clips cannot be read
    partial: list[tuple[str, str]] = []
    high: list[float] = []
    for shard in _shards(read_clips(task, _fresh(task, kept, keys, faults), CLIP_SECONDS)):
        faults |= {clip.index: task.reason(clip.index, clip.fault) for clip in shard if clip.fault}
        read = [clip for clip in shard if not clip.fault]
        partial += [(task.title(clip.index), remark) for clip in read for remark in clip.remarks]
        high += [clip.high for clip in read]
        new = {key: clip.waveform for clip in read if (key := keys[clip.index]) not in kept}
        if new:
            kept.add(list(new), _embed(model, list(new.values())))
    rows = [index for index in keys if index not in faults]
    skipped = [(task.title(index), faults[index]) for index in sorted(faults)]
    _check_left(task, rows, skipped)
    say_high(high)
    return Features(kept.vectors([keys[index] for index in rows]), np.array(rows), skipped, partial)


def _fresh(
    task: Task, kept: "Store | _Unkept", keys: dict[int, str], faults: dict[int, str]
) -> Iterator[int]:
    """The clips whose sound is not among what is `kept`; all get a key or a fault."""
    digests: dict[Path, str] = {}
    for index in track(range(len(task)), f"features of {task.name}"):
        try:
            key = keys[index] = _content(task, index, digests)
        except AudioError as error:
            faults[index] = task.reason(index, error)
            continue
        if key not in kept:
            yield index


def _embed(model: Any, waveforms: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    return model.embed(waveforms, sample_rate=SAMPLE_RATE, layers=model.depth, pooling=POOLING)


class _Unkept(dict[str, NDArray[np.float32]]):
    """Stands for a `Store` where nothing is kept on disk."""

    def add(self, keys: list[str], vectors: NDArray[np.float32]) -> None:
        self.update(zip(keys, vectors, strict=True))

    def vectors(self, keys: list[str]) -> NDArray[np.float32]:
        return np.stack([self[key] for key in keys])


def store(model: Any) -> Store:
    """Where that model's features are kept: a folder for each model and settings."""
    settings = f"{VERSION} {model.fingerprint} {model.depth} {POOLING} {CLIP_SECONDS}"
    name = hashlib.sha256(settings.encode()).hexdigest()[:24]
    return Store(cache_folder() / "features" / name)


def cache_folder() -> Path:
    """`ATST_CACHE`, else `atst` in the user's folder for caches. Raises `UsageError` without a home."""
    if chosen := os.environ.get("ATST_CACHE"):
        return Path(chosen)
    try:
        return platformdirs.user_cache_path("atst").expanduser()  # older releases leave a ~ without a home
    except RuntimeError as error:
        raise UsageError("this user has no home folder: set ATST_CACHE, or give --no-cache.") from error


def _content(task: Task, index: int, digests: dict[Path, str]) -> str:
    """A hash of the clip's file and segment, or of its samples if it has none.

    `digests` keeps those of files that several clips are of.
    """
    if task.folder is None:
        return hashlib.sha256(task.read(index).tobytes()).hexdigest()[:32]
    path, segment = task.path(index), task.segment(index)
    try:
        if (digest := digests.get(path)) is None:
            with path.open("rb") as stream:
                digest = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise AudioError(f"{path}: {error.strerror}") from error
    settings = "" if task.channel is None else f" channel {task.channel}"
    if segment is not None:
        digests[path] = digest
        settings += f" {segment[0]:.6f} {segment[1]:.6f}"
    return hashlib.sha256(f"{digest}{settings}".encode()).hexdigest()[:32] if settings else digest[:32]


def _shards(clips: Iterator[Clip]) -> Iterator[list[Clip]]:
    while shard := list(islice(clips, SHARD)):
        yield shard


def _check_left(task: Task, rows: list[int], skipped: list[tuple[str, str]]) -> None:
    """Every split and fold must still have a clip."""
    parts = task.splits if task.splits is not None else task.folds
    assert parts is not None, "a task has splits or folds"
    for part in np.unique(parts):
        if part not in parts[rows]:
            kind = "split" if task.splits is not None else "fold"
            raise AtstError(
                f"task {task.name}: no clip of {kind} '{part}' can be read. "
                f"{len(skipped)} of {len(task)} clips failed, the first: {': '.join(skipped[0])}"
            )
