"""Heads on a task's features: trained, applied and measured on some of the rows."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from atst.evaluation import sweep
from atst.evaluation.features import Features, extract
from atst.evaluation.gather import Embeddings, applied, on_device, picked
from atst.evaluation.knn import knn_scores
from atst.model import device as devices
from atst.scoring.metrics import bootstrap_values, score
from atst.scoring.splits import FewShot, Splits, make_splits
from atst.tasks import Task


@dataclass
class Head:
    """A classifier: logits = x @ weight.T + bias.

    x is the features, or what the hidden layers, each relu(x @ weight.T + bias), make of them.
    """

    weight: Tensor  # (C, D), or (C, H) after hidden layers
    bias: Tensor  # (C,)
    trained_on: str  # in words
    hidden: list[tuple[Tensor, Tensor]] = field(default_factory=list)  # weight (H, D or H), bias (H,)


@dataclass
class Labelled:
    """Features and labels on the device, and what is done with some of their rows."""

    features: Embeddings  # (n, D)
    labels: Tensor  # (n,) or (n, C)
    task: Task
    seed: int

    @property
    def classes(self) -> int:
        """How many there are: C."""
        return len(self.task.label_names)

    def train(
        self,
        rows: NDArray[np.bool_],
        rates: list[list[float]],
        valid: NDArray[np.bool_] | None = None,
        stop: list[int] | None = None,
    ) -> sweep.Sweep:
        """Train on `rows` (n, F, K) with `rates` (F, R); the epoch is chosen on `valid`, or is `stop` (F,).

        All folds at once, or one by one where they share few clips: a step costs all rows for each fold.
        """
        used = torch.from_numpy(rows).any(2)
        if len(rates) > 1 and 2 * used.sum() < used.any(1).sum() * len(rates):
            return sweep.side_by_side(
                [
                    self.train(
                        rows[:, [fold]],
                        [own],
                        None if valid is None else valid[:, [fold]],
                        None if stop is None else [stop[fold]],
                    )
                    for fold, own in enumerate(rates)
                ]
            )
        return sweep.train(
            self.features,
            self.labels,
            self.classes,
            _each_turn(rows),
            torch.tensor(rates),
            valid_rows=None if valid is None else _each_turn(valid),
            stop=None if stop is None else torch.tensor(stop)[:, None].expand(-1, len(rates[0])),
            turns=rows.shape[2],
            seed=self.seed,
        )

    def logits(self, head: Head, rows: NDArray[np.bool_]) -> Tensor:
        """(m, C) of the m rows."""

        def forward(x: Tensor) -> Tensor:
            for weight, bias in head.hidden:
                x = (x @ weight.T.to(x.device) + bias.to(x.device)).relu()
            return (x @ head.weight.T.to(x.device) + head.bias.to(x.device)).cpu()

        return applied(forward, picked(self.features, self._index(rows)))

    def labels_of(self, rows: NDArray[np.bool_]) -> Tensor:
        """(m,) or (m, C)."""
        return self.labels[self._index(rows)].cpu()

    def score(self, logits: Tensor, rows: NDArray[np.bool_]) -> float:
        """The task's metric of the rows' logits (m, C)."""
        return float(score(self.task.metric, logits, self.labels_of(rows)))

    def bootstrap(self, logits: Tensor, rows: NDArray[np.bool_], fold: int) -> NDArray[np.float64]:
        """The metric on draws of the rows."""
        return bootstrap_values(self.task.metric, logits, self.labels_of(rows), self.seed + fold)

    def knn(self, train: NDArray[np.bool_], test: NDArray[np.bool_]) -> float:
        """The metric of nearest neighbours."""
        known, asked = self._index(train), self._index(test)
        train_features, test_features = (picked(self.features, rows) for rows in (known, asked))
        scores = knn_scores(train_features, self.labels[known], test_features, self.classes)
        return self.score(scores.cpu(), test)

    def _index(self, rows: NDArray[np.bool_]) -> Tensor:
        return torch.from_numpy(np.flatnonzero(rows)).to(self.features.device)


def _each_turn(rows: NDArray[np.bool_]) -> Tensor:
    """(n, F, K) -> (n, F * K)."""
    return torch.from_numpy(rows.reshape(len(rows), -1))


def prepare(
    model: Any,
    task: Task,
    seed: int,
    cache: bool,
    device: str,
    few_shot: FewShot | None = None,
    features: Features | None = None,
) -> tuple[Labelled, Splits, Features]:
    """A task's features on the device, and what to do with which; `features` if they are there already."""
    where = devices.resolve(device)
    features = features or extract(model, task, cache)
    labels = torch.from_numpy(task.labels[features.rows]).to(where)
    data = Labelled(on_device(features.values, where), labels, task, seed)
    return data, make_splits(task, features.rows, seed, few_shot), features


def kept_head(heads: sweep.Heads, fold: int, rate: int, trained_on: str) -> Head:
    """One head of a sweep."""
    weight = heads.weight[:, fold, rate].T.contiguous().cpu()
    return Head(weight, heads.bias[fold, rate].contiguous().cpu(), trained_on)
