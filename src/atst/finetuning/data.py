"""The stream of training clips: order, mixup partners and crops, all by seed and position."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from atst.errors import AudioError, CorpusError
from atst.finetuning.augment import mask, mix
from atst.finetuning.clips import Clips
from atst.finetuning.recipe import Recipe
from atst.tasks.task import CHUNK
from atst.training.augment import draw_crops, resize_crop

ATTEMPTS = 20
KEPT_ORDERS = 4_000_000  # entries of epochs' orders to keep, for partners from epochs before
ORDER, AUGMENT, REPLACEMENT, PARTNER = range(4)  # kinds of draw, so that no two share a random stream


class Stream(Dataset[dict[str, Any]]):
    """Position in the endless stream to an augmented log-mel (64, T) and its label (C,).

    An epoch is `per_epoch` positions: every clip once in a new order, then again in that order until the
    last batch is full; or, balanced, clips drawn in proportion to the rarity of their labels. Partners are
    the clips of earlier positions, or, of no bank, any clip with equal chance, balanced or not. `labels` are
    (n,) or (n, C), as the task has them.
    """

    def __init__(
        self, clips: Clips, labels: NDArray, rows: NDArray[np.int64], recipe: Recipe, per_epoch: int
    ) -> None:
        self.clips, self.labels, self.rows = clips, labels, rows
        self.recipe, self.per_epoch = recipe, per_epoch
        self.weights = rarity(labels[rows]) if recipe.balanced else None
        self.orders: dict[int, NDArray[np.int64]] = {}

    def __getitem__(self, position: int) -> dict[str, Any]:
        recipe, unreadable = self.recipe, dict[int, str]()
        rng = np.random.default_rng((recipe.seed, AUGMENT, position))
        index, logmel = self._clip(self.row(position), (REPLACEMENT, position), unreadable)
        label = self._label(index)
        if recipe.mixup and position > 0 and rng.random() < recipe.mixup_probability:
            other, partner = self._partner(position, rng.random(), unreadable)
            weight = rng.beta(recipe.mixup, recipe.mixup)
            logmel, label = mix(logmel, label, partner, self._label(other), weight, rng.random())
        if any(recipe.masks):
            logmel = mask(logmel, recipe.masks, torch.from_numpy(rng.random(4)))
        if recipe.resize_crop:
            crops = draw_crops(torch.from_numpy(rng.random((1, 4))), *logmel.shape)
            logmel = resize_crop(logmel[None], crops)[0]
        partial = {index: self.clips.partial[index]} if index in self.clips.partial else {}
        item = {"position": position, "logmel": logmel, "label": label}
        return item | {"unreadable": unreadable, "partial": partial}

    def row(self, position: int) -> int:
        """Index of the clip at a position."""
        epoch, place = divmod(position, self.per_epoch)
        if epoch not in self.orders:
            if len(self.orders) * self.per_epoch > KEPT_ORDERS:
                self.orders.clear()
            self.orders[epoch] = self._order(epoch)
        return int(self.orders[epoch][place])

    def _label(self, index: int) -> Tensor:
        """The clip's label (C,)."""
        return one_hot(self.labels[[index]], len(self.clips.task.label_names))[0]

    def _order(self, epoch: int) -> NDArray[np.int64]:
        rng = np.random.default_rng((self.recipe.seed, ORDER, epoch))
        if self.weights is not None:
            return rng.choice(self.rows, self.per_epoch, p=self.weights)
        return np.resize(rng.permutation(self.rows), self.per_epoch)

    def _partner(self, position: int, draw: float, unreadable: dict[int, str]) -> tuple[int, Tensor]:
        """What the clip at `position` is mixed with, by a draw from [0, 1)."""
        if self.recipe.mixup_bank:
            before = position - 1 - int(draw * min(position, self.recipe.mixup_bank))
            return self._clip(self.row(before), (REPLACEMENT, before), unreadable)
        return self._clip(int(self.rows[int(draw * len(self.rows))]), (PARTNER, position), unreadable)

    def _clip(self, first: int, draw: tuple[int, int], unreadable: dict[int, str]) -> tuple[int, Tensor]:
        """The clip `first`, or if it cannot be read a replacement, always the same for a `draw`."""
        for index in self._candidates(first, draw):
            try:
                return index, self.clips[index]
            except AudioError as error:
                unreadable[index] = str(error)
        raise CorpusError(f"{ATTEMPTS} clips in a row could not be read, the last: {unreadable[index]}")

    def _candidates(self, first: int, draw: tuple[int, int]) -> Iterator[int]:
        yield first
        rng = np.random.default_rng((self.recipe.seed, *draw))
        yield from rng.choice(self.rows, ATTEMPTS - 1).tolist()


def one_hot(labels: NDArray, classes: int) -> Tensor:
    """Labels (n,) or multi-hot (n, C) as float32 (n, C)."""
    given = torch.as_tensor(labels)
    return (given if labels.ndim == 2 else torch.nn.functional.one_hot(given, classes)).float()


def rarity(labels: NDArray | Tensor) -> NDArray[np.float64]:
    """A weight for each clip (n,), adding up to 1: the sum over its labels of 1 / clips with that label.

    `labels` are (n,) classes or (n, C). Clips without a label count as one more class.
    """
    given = torch.as_tensor(labels)
    if given.ndim == 1:
        weights = (1 / given.bincount().double())[given].numpy()
    else:
        parts = given.split(CHUNK)
        counts = torch.stack([part.double().sum(0) for part in parts]).sum(0).clamp_min(1)
        weights = torch.cat([(part.double() / counts).sum(1) for part in parts]).numpy()
        unlabelled = weights == 0
        weights[unlabelled] = 1 / max(1, unlabelled.sum())
    return weights / weights.sum()


def collate(items: list[dict[str, Any]]) -> dict[str, Any]:
    """A batch: `logmels` (B, 64, T) padded with 0, `lengths` (B,) in frames, `labels` (B, C), `unreadable`.

    `position` is the first clip's.
    """
    lengths = [item["logmel"].shape[-1] for item in items]
    logmels = torch.zeros(len(items), items[0]["logmel"].shape[0], max(lengths))
    for row, item, length in zip(logmels, items, lengths, strict=True):
        row[:, :length] = item["logmel"]
    return {
        "position": items[0]["position"],
        "logmels": logmels,
        "lengths": torch.tensor(lengths),
        "labels": torch.stack([item["label"] for item in items]),
        "unreadable": {index: reason for item in items for index, reason in item["unreadable"].items()},
        "partial": {index: remark for item in items for index, remark in item["partial"].items()},
    }
