"""Frozen features of a task's clips, computed once and kept on disk."""

import functools
import hashlib
import os
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atst.atomic import new_file
from atst.audio import SAMPLE_RATE
from atst.errors import AtstError, AudioError
from atst.progress import track
from atst.tasks import Task

CLIP_SECONDS = 12.0  # of longer clips the middle is used, as the paper's evaluation does
POOLING = "published"
SHARD = 128  # clips embedded, and written to the cache, at a time
VERSION = 1  # of what features mean; counted up, it makes old caches unused


@dataclass
class Features:
    """Features of the readable clips of a task."""

    values: NDArray[np.float32]  # (n, D)
    rows: NDArray[np.int64]  # (n,) index of each in the task
    skipped: list[tuple[str, str]]  # (clip, reason) of the unreadable ones


def extract(model: Any, task: Task, cache: bool = True) -> Features:
    """Embed the middle 12 s of every clip: all blocks' CLS and mean tokens, pooled as published.

    Clips that cannot be read are skipped and listed. With `cache`, what was computed before for the same
    audio, model and settings is read back. Raises `AtstError` if no clip
    of a split or a fold is left.
    """
    store = Store(model) if cache else None
    values: list[NDArray[np.float32]] = []
    rows: list[int] = []
    skipped: list[tuple[str, str]] = []
    for shard in _shards(track(range(len(task)), f"features of {task.name}")):
        keys: list[str] = []
        known: dict[str, NDArray[np.float32]] = {}
        fresh: dict[str, NDArray[np.float32]] = {}
        for index in shard:
            try:
                key = _content(task, index)
                if store is not None and (found := store.get(key)) is not None:
                    known[key] = found
                elif key not in fresh:
                    fresh[key] = task.read(index, CLIP_SECONDS)
            except AudioError as error:
                skipped.append((task.names[index], str(error)))
                continue
            keys.append(key)
            rows.append(index)
        if fresh:
            known |= dict(zip(fresh, _embed(model, list(fresh.values())), strict=True))
            if store is not None:
                store.add({key: known[key] for key in fresh})
        values += [known[key] for key in keys]
    _check_left(task, rows, skipped)
    return Features(np.stack(values), np.array(rows), skipped)


def _embed(model: Any, waveforms: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    return model.embed(waveforms, sample_rate=SAMPLE_RATE, layers=model.depth, pooling=POOLING)


class Store:
    """Feature vectors on disk, found by the content of the audio.

    A folder for each model and settings holds shards: NAME.npy with vectors (n, D), and NAME.txt with their
    keys, written after it. Shards are only ever added, under names of their own, so several processes may.
    """

    def __init__(self, model: Any, root: Path | None = None) -> None:
        settings = f"{VERSION} {model.fingerprint} {model.depth} {POOLING} {CLIP_SECONDS}"
        name = hashlib.sha256(settings.encode()).hexdigest()[:24]
        self.folder = (root or cache_folder()) / "features" / name
        self.found: dict[str, tuple[Path, int]] = {}  # shard and row
        for listing in sorted(self.folder.glob("*.txt")):
            shard = listing.with_suffix(".npy")
            try:
                keys = listing.read_text().split()
                whole = len(keys) == len(_vectors(shard))
            except (OSError, ValueError):
                continue  # a damaged shard is computed again
            if whole:
                self.found |= {key: (shard, row) for row, key in enumerate(keys)}

    def get(self, key: str) -> NDArray[np.float32] | None:
        """The vector (D,) of that audio, if it is there."""
        if key not in self.found:
            return None
        shard, row = self.found[key]
        return np.array(_vectors(shard)[row])

    def add(self, vectors: dict[str, NDArray[np.float32]]) -> None:
        """Keep more vectors, by key."""
        path = self.folder / f"{uuid.uuid4().hex}.npy"
        with new_file(path) as temporary, temporary.open("wb") as stream:
            np.save(stream, np.stack(list(vectors.values())))
        with new_file(path.with_suffix(".txt")) as temporary:
            temporary.write_text("\n".join(vectors) + "\n")


@functools.lru_cache(maxsize=16)  # each keeps a file open, and a system allows some hundred
def _vectors(shard: Path) -> NDArray[np.float32]:
    """The vectors (n, D) of a shard, read when looked at."""
    return np.load(shard, mmap_mode="r")


def cache_folder() -> Path:
    """`ATST_CACHE`, else `atst` in the user's folder for caches."""
    if chosen := os.environ.get("ATST_CACHE"):
        return Path(chosen)
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "atst"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "atst"


def _content(task: Task, index: int) -> str:
    """A hash of the clip's file, or of its samples if it has none."""
    if task.paths is None:
        return hashlib.sha256(task.read(index).tobytes()).hexdigest()[:32]
    try:
        with task.paths[index].open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()[:32]
    except OSError as error:
        raise AudioError(f"{task.paths[index]}: {error.strerror}") from error


def _shards(indices: Iterator[int]) -> Iterator[list[int]]:
    shard: list[int] = []
    for index in indices:
        shard.append(index)
        if len(shard) == SHARD:
            yield shard
            shard = []
    if shard:
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
                f"{len(skipped)} of {len(task)} clips failed, the first: {skipped[0][1]}"
            )
