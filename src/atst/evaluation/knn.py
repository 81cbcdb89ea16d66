"""Nearest neighbours: classification without training."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from atst.errors import CorpusError
from atst.evaluation.lazy import Embeddings, apply, chunks
from atst.model.embedder import Embedder
from atst.scoring.metrics import score
from atst.sound.audio import CLIP_SECONDS, SAMPLE_RATE
from atst.tasks import Task
from atst.tasks.division import grouped_folds
from atst.tasks.reading import read_clips

NEIGHBOURS = 10
TIES = 1e-3  # weight of the similarity beside a vote
AT_ONCE = 1024  # clips that are compared with all others
WATCHED = {"train": 2000, "valid": 500}  # most clips looked at while a pre-training goes on


def knn_scores(
    train: Embeddings,
    labels: Tensor,
    test: Embeddings,
    classes: int,
    neighbours: int = NEIGHBOURS,
    ties: float = TIES,
) -> Tensor:
    """The votes of the nearest training clips for each class: (n_test, C).

    Nearest by cosine of the features as they are, neither standardised nor centred. Each neighbour votes
    once; similarity, with the weight `ties`, only breaks ties. `train` (n, D), `labels` (n,)
    or (n, C), `test` (n_test, D).
    """

    def votes(near: Tensor, which: Tensor) -> Tensor:
        hot = labels[which] if labels.ndim == 2 else torch.nn.functional.one_hot(labels[which], classes)
        return (hot.float() * (1 + ties * near[:, :, None])).mean(1)

    def scores(asked: Tensor) -> Tensor:
        found = (tensor.split(AT_ONCE) for tensor in _nearest(train, asked, neighbours))
        return torch.cat([votes(near, which) for near, which in zip(*found, strict=True)])

    return apply(scores, test)


def _nearest(train: Embeddings, asked: Tensor, neighbours: int) -> tuple[Tensor, Tensor]:
    """Similarity and row of each asked clip's nearest training clips, both (m, k)."""
    near, which = asked.new_empty(len(asked), 0), asked.new_empty(len(asked), 0, dtype=torch.int64)
    before = 0  # training clips compared already
    for chunk in chunks(train):
        unit = torch.nn.functional.normalize(chunk, dim=1).T
        found = [
            (torch.nn.functional.normalize(some, dim=1) @ unit).topk(min(neighbours, len(chunk)))
            for some in asked.split(AT_ONCE)
        ]
        near = torch.cat([near, torch.cat([top.values for top in found])], 1)
        which = torch.cat([which, torch.cat([top.indices for top in found]) + before], 1)
        if before:
            near, best = near.topk(min(neighbours, near.shape[1]))
            which = which.gather(1, best)
        before += len(chunk)
    return near, which


def knn_watch(task: Task, seed: int = 0) -> Callable[[Embedder], float]:
    """A function that evaluates a model in training; the audio is kept in memory.

    It gives the accuracy (multi-label: mAP) of nearest neighbours on the validation clips, by the
    last block's CLS and mean token.

    At most 2000 training and 500 validation clips, drawn by `seed`; test clips are never read. With folds,
    the first is the validation split, without its tested clips where it has others. Raises `CorpusError` if a
    split has no readable clip.
    """
    rng = np.random.default_rng(seed)
    clips, labels = {}, {}
    for split, rows in _watched_rows(task, rng).items():
        rows = np.sort(rng.permutation(rows)[: WATCHED[split]])
        read = [clip for clip in read_clips(task, rows.tolist(), CLIP_SECONDS) if not clip.error]
        if not read:
            raise CorpusError(f"task {task.name}: no clip of its {split} split can be read.")
        clips[split] = [clip.waveform for clip in read]
        labels[split] = torch.from_numpy(task.labels[[clip.index for clip in read]])

    def measure(model: Embedder) -> float:
        train, valid = (
            torch.from_numpy(model.embed(clips[split], sample_rate=SAMPLE_RATE))
            for split in ("train", "valid")
        )
        scores = knn_scores(train, labels["train"], valid, len(task.label_names))
        return float(score(task.metric, scores, labels["valid"]))

    return measure


def _watched_rows(task: Task, rng: np.random.Generator) -> dict[str, NDArray[np.int64]]:
    if task.folds is not None:
        first = task.folds == task.folds.min()
        valid = first if task.tested is None else first & ~task.tested
        return {"train": np.flatnonzero(~first), "valid": np.flatnonzero(valid)}
    train, valid = (np.flatnonzero(task.parts == split) for split in ("train", "valid"))
    if len(valid) == 0 and task.groups is not None:
        seed = int(rng.integers(2**31))
        folds = grouped_folds(task.first_labels[train], task.groups[train], seed)
        if folds is not None:
            return {"train": train[folds > 0], "valid": train[folds == 0]}
    if len(valid) == 0:
        order = rng.permutation(train)
        valid, train = order[: len(train) // 5], order[len(train) // 5 :]
    return {"train": train, "valid": valid}
