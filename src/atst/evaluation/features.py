"""Frozen features of a task's clips, computed once and kept on disk; what every probe works on."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from atst.cores import in_parallel
from atst.errors import AtstError, AudioError
from atst.evaluation.lazy import Embeddings, apply, on_device, select
from atst.evaluation.store import Store
from atst.model.audio_model import AudioModel
from atst.model.classifier import Head
from atst.model.device import resolve
from atst.model.embedder import Embedder
from atst.model.replicas import spread
from atst.onnx import OnnxModel
from atst.output.cache import cache_folder
from atst.output.progress import track
from atst.scoring.splits import FewShot, Splits, make_splits
from atst.sound.audio import CLIP_SECONDS, SAMPLE_RATE
from atst.sound.levels import say_high
from atst.tasks import Task
from atst.tasks.reading import read_clips
from atst.training import memory

POOLING = "published"
SHARD = 128  # clips read, and written to the cache, at a time; an interruption loses no more
BATCH = 32  # of them that are embedded together
VERSION = 2  # of the meaning of features; a higher one makes old caches unused


@dataclass
class Features:
    """Features of the readable clips of a task."""

    values: Embeddings  # (n, D) on the CPU, or on disk if they are large
    rows: NDArray[np.int64]  # (n,) index of each in the task
    unreadable: dict[int, str]  # index of a clip: why
    readout: dict[str, Any]  # options of `embed` that made them
    partial: dict[int, str] = field(default_factory=dict)  # index of one that was cut short: what is missing


@dataclass
class ProbeData:
    """Features and labels of n clips of a task on the device that trains, and the clips' splits."""

    model: Embedder
    task: Task
    few_shot: FewShot | None  # how many labels may be used; None: all
    seed: int  # of the splits, and of what is trained on them
    extracted: Features
    splits: Splits
    features: Embeddings  # (n, D)
    labels: Tensor  # (n,) or (n, C)

    @property
    def classes(self) -> int:
        """Their number: C."""
        return len(self.task.label_names)

    def index(self, clips: NDArray[np.bool_]) -> Tensor:
        """The rows (m,) of a mask (n,)."""
        return torch.from_numpy(np.flatnonzero(clips)).to(self.features.device)

    def logits(self, head: Head, clips: NDArray[np.bool_]) -> Tensor:
        """(m, C) of the clips in a mask (n,), on the CPU."""
        return apply(lambda x: head.logits(x).cpu(), select(self.features, self.index(clips)))

    def resplit(
        self,
        seed: int,
        split: Callable[[Task, NDArray[np.int64], int, FewShot | None], Splits] = make_splits,
    ) -> "ProbeData":
        """The same features with other splits."""
        splits = split(self.task, self.extracted.rows, seed, self.few_shot)
        return replace(self, seed=seed, splits=splits)

    def labels_of(self, clips: NDArray[np.bool_]) -> Tensor:
        """(m,) or (m, C) of the clips in a mask (n,), on the CPU."""
        return self.labels[self.index(clips)].cpu()


def prepare(
    model: Embedder,
    task: Task,
    *,
    seed: int = 0,
    cache: bool = True,
    device: str = "auto",
    devices: int = 1,
    few_shot: FewShot | None = None,
    **readout: Any,
) -> ProbeData:
    """What every probe of a task works on.

    Args:
        model: what embeds the clips.
        task: the labelled clips.
        seed: of held-out and drawn clips, the initial weights, the order of the data and the bootstrap.
        cache: whether features are kept on disk and read back.
        device: `auto`, `cpu`, `cuda` or `mps`; where the classifiers are trained.
        devices: how many GPUs share the embedding of the clips.
        few_shot: the number of labels for training and validation.
        readout: options of the model's `embed` that differ from all blocks' tokens, pooled as published.

    Raises:
        AtstError: no clip of a split or a fold can be read.
        UsageError: there are fewer GPUs.
    """
    where = resolve(device)
    memory.keep()
    extracted = extract(model, task, cache, devices, **readout)
    splits = make_splits(task, extracted.rows, seed, few_shot)
    features, labels = on_device(extracted.values, where), torch.from_numpy(task.labels[extracted.rows])
    return ProbeData(model, task, few_shot, seed, extracted, splits, features, labels.to(where))


def probe_readout(model: Embedder, **asked: Any) -> dict[str, Any]:
    """Options of `embed` for a probe: all blocks' CLS and mean tokens, pooled as published.

    A model without CLS has its own read-out, and an ONNX file the one it was exported with. `asked` says
    otherwise, where it is not None.
    """
    asked = {key: value for key, value in asked.items() if value is not None}
    if isinstance(model, OnnxModel):
        return model.options(**asked)
    if not isinstance(model, AudioModel):
        return {"layers": model.depth, "pooling": POOLING}
    if model.encoder.has_cls:
        asked = {"layers": model.depth, "pooling": POOLING} | model.config.readout | asked
    return model.readout(**asked).options()


def extract(model: Embedder, task: Task, cache: bool = True, devices: int = 1, **readout: Any) -> Features:
    """Embed the middle 12 s of every clip, as `probe_readout` says of `readout`.

    Clips that cannot be read are skipped and listed. With `cache`, what was computed before for the same
    audio, model and settings is read back, and features of more than 1 GiB stay on disk. Raises
    `AtstError` if no clip of a split or a fold is left.
    """
    readout = probe_readout(model, **readout)
    # What is missing of a recording is only known when it is read, which the cache would prevent.
    kept: Store | _Unkept = store(model, **readout) if cache and not task.partial else _Unkept()
    keys: dict[int, str] = {}  # of clips
    unreadable: dict[int, str] = {}  # why clips cannot be read
    partial: dict[int, str] = {}
    high: list[float] = []
    wanted = _fresh(task, kept, keys, unreadable)
    clips = read_clips(task, wanted, CLIP_SECONDS)
    with spread(model, devices) as models:
        while shard := list(islice(clips, SHARD)):
            unreadable |= {clip.index: clip.error for clip in shard if clip.error}
            read = [clip for clip in shard if not clip.error]
            partial |= {clip.index: "; ".join(clip.remarks) for clip in read if clip.remarks}
            high += [clip.high for clip in read]
            new = {key: clip.waveform for clip in read if (key := keys[clip.index]) not in kept}
            if new:
                kept.add(list(new), _embedded(models, list(new.values()), readout))
    rows = [index for index in keys if index not in unreadable]
    left = rows if task.tested is None else [row for row in rows if task.tested[row]]
    for part in np.setdiff1d(task.parts, task.parts[left]):
        first = f"{len(unreadable)} of {len(task)} clips failed, the first: {unreadable[min(unreadable)]}"
        raise AtstError(f"task {task.name}: no clip of {task.by} '{part}' can be read. {first}")
    say_high(high)
    values = kept.features([keys[index] for index in rows])
    return Features(values, np.array(rows), unreadable, readout, partial)


def _embedded(
    models: list[Embedder], waveforms: list[NDArray[np.float32]], readout: dict[str, Any]
) -> NDArray[np.float32]:
    """(n, D), each batch by one of the models, which are alike."""

    def embed(model: Embedder, batch: list[NDArray[np.float32]]) -> NDArray[np.float32]:
        return model.embed(batch, sample_rate=SAMPLE_RATE, **readout)

    batches = (waveforms[at : at + BATCH] for at in range(0, len(waveforms), BATCH))
    return np.concatenate(list(in_parallel(models, embed, batches)))


def _fresh(
    task: Task, kept: "Store | _Unkept", keys: dict[int, str], unreadable: dict[int, str]
) -> Iterator[int]:
    """The clips whose sound is not among what is `kept`; all get a key or a reason."""
    digests: dict[Path, str] = {}
    for index in track(range(len(task)), f"features of {task.name}"):
        try:
            key = keys[index] = task.content(index, digests)
        except AudioError as error:
            unreadable[index] = str(error)
            continue
        if key not in kept:
            yield index


class _Unkept(dict[str, NDArray[np.float32]]):
    """In place of a `Store` where nothing is kept on disk."""

    def add(self, keys: list[str], vectors: NDArray[np.float32]) -> None:
        self.update(zip(keys, vectors, strict=True))

    def features(self, keys: list[str]) -> Tensor:
        return torch.from_numpy(np.stack([self[key] for key in keys]))


def store(model: Embedder, **readout: Any) -> Store:
    """Where that model's features are kept: a folder for each model and settings."""
    settings = f"{VERSION} {model.fingerprint} {CLIP_SECONDS}"
    settings += "".join(f" {key}={value}" for key, value in sorted(readout.items()))
    name = hashlib.sha256(settings.encode()).hexdigest()[:24]
    return Store(cache_folder() / "features" / name)
