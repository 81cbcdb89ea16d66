"""Which clips train, choose and test: each fold of a task, or its one split."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from atst.tasks import Task

HELD_OUT = 0.2  # of the training clips, where a task has nothing to choose on
SPLIT_BY_FOLDS = 3  # folds from which on a whole one can be held out


@dataclass
class Parts:
    """Masks over n clips for each of F classifiers; no clip is in two parts of one classifier."""

    train: NDArray[np.bool_]  # (n, F)
    valid: NDArray[np.bool_]  # (n, F)
    test: NDArray[np.bool_]  # (n, F)
    folds: list[int] | None  # the fold that each classifier is tested on
    held_out: str | None  # what `valid` is if it was cut from the training clips, in words

    @property
    def count(self) -> int:
        """How many classifiers are trained: F."""
        return self.train.shape[1]


def divide(task: Task, rows: NDArray[np.int64], seed: int) -> Parts:
    """The parts of the clips `rows` of a task.

    Where the task has no validation split, part of the training clips is held out for choosing: with three
    or more folds the next one (it shares no recording with the others), else a fifth of each class.
    """
    if task.folds is None:
        assert task.splits is not None, "a task has splits or folds"
        train, valid, test = ((task.splits[rows] == part)[:, None] for part in ("train", "valid", "test"))
        if valid.any():
            return Parts(train, valid, test, None, None)
        valid = _fifth(task.labels[rows], train[:, 0], seed)[:, None]
        return Parts(train & ~valid, valid, test, None, f"{HELD_OUT:.0%} of the training clips of each class")
    own = task.folds[rows]
    folds = np.unique(own).tolist()
    test = np.stack([own == fold for fold in folds], axis=1)  # (n, F)
    if len(folds) >= SPLIT_BY_FOLDS:
        valid, how = np.roll(test, -1, axis=1), "the fold after the test fold"
    else:
        valid = np.stack([_fifth(task.labels[rows], ~column, seed) for column in test.T], axis=1)
        how = f"{HELD_OUT:.0%} of the training clips of each class"
    return Parts(~test & ~valid, valid, test, folds, how)


def _fifth(labels: NDArray, train: NDArray[np.bool_], seed: int) -> NDArray[np.bool_]:
    """A random fifth of the training clips (n,), class by class; at least one stays in training."""
    rng = np.random.default_rng(seed)
    chosen = np.zeros(len(train), dtype=bool)
    classes = labels if labels.ndim == 1 else labels.argmax(1)  # multi-label: by the first label
    for label in np.unique(classes[train]):
        own = rng.permutation(np.flatnonzero(train & (classes == label)))
        chosen[own[: min(len(own) - 1, max(1, round(len(own) * HELD_OUT)))]] = True
    if not chosen.any():  # one clip a class
        chosen[rng.choice(np.flatnonzero(train))] = True
    return chosen
