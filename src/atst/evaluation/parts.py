"""Which clips train, choose and test: each fold of a task, or its one split."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from atst.errors import UsageError
from atst.tasks import Task

HELD_OUT = 0.2  # of the training clips, where a task has nothing to choose on
SPLIT_BY_FOLDS = 3  # folds from which on a whole one can be held out


@dataclass(frozen=True)
class Few:
    """How many labels a classifier may see, to choose and to train: one of the two is given."""

    shots: int | None = None  # training clips of each class
    fraction: float | None = None  # of the training clips of each class, one at least

    @property
    def words(self) -> str:
        """For tables and reports."""
        if self.shots is not None:
            return f"{self.shots} training clip{'s' if self.shots > 1 else ''} of each class"
        return f"{self.fraction:.3g} of the training clips of each class"

    def check(self, task: Task) -> None:
        """Raises `UsageError` for shots of a multi-label task: its clips belong to no one class."""
        if self.shots is not None and task.multi_label:
            raise UsageError(
                f"--shots counts clips of one class; {task.name} is multi-label: give --fraction."
            )

    def draw(self, labels: NDArray, pool: NDArray[np.bool_], seed: int) -> NDArray[np.bool_]:
        """The clips (n,) that are drawn from those of `pool` (n,), class by class."""
        rng = np.random.default_rng(seed)
        drawn = np.zeros(len(pool), dtype=bool)
        classes = _first_label(labels)
        for label in np.unique(classes[pool]):
            own = rng.permutation(np.flatnonzero(pool & (classes == label)))
            drawn[own[: self.shots or max(1, round((self.fraction or 0) * len(own)))]] = True
        return drawn


def few_labels(shots: int | None, fraction: float | None) -> Few | None:
    """What `--shots` and `--fraction` ask for; None if neither is given. Raises `UsageError`."""
    if shots is not None and fraction is not None:
        raise UsageError("--shots and --fraction both say how many labels are used; give one.")
    if shots is not None and shots < 1:
        raise UsageError(f"--shots must be 1 or more, not {shots}.")
    if fraction is not None and not 0 < fraction <= 1:
        raise UsageError(f"--fraction must be more than 0 and at most 1, not {fraction:g}.")
    return None if shots is None and fraction is None else Few(shots, fraction)


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


def divide(task: Task, rows: NDArray[np.int64], seed: int, few: Few | None = None) -> Parts:
    """The parts of the clips `rows` of a task.

    Where the task has no validation split, part of the training clips is held out for choosing: with three
    or more folds the next one (it shares no recording with the others), else a fifth of each class. With
    `few`, both are cut from the drawn training clips, and a validation split is not looked at.
    """
    if few is not None:
        return _few_parts(task, rows, seed, few)
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


def _few_parts(task: Task, rows: NDArray[np.int64], seed: int, few: Few) -> Parts:
    """Trained on a few clips; a fifth of them is held out, none where every class has only one."""
    labels = task.labels[rows]
    if task.folds is None:
        assert task.splits is not None, "a task has splits or folds"
        folds, test = None, (task.splits[rows] == "test")[:, None]  # (n, F)
        pool = (task.splits[rows] == "train")[:, None]
    else:
        folds = np.unique(task.folds[rows]).tolist()
        test = np.stack([task.folds[rows] == fold for fold in folds], axis=1)
        pool = ~test
    drawn = np.stack([few.draw(labels, column, seed) for column in pool.T], axis=1)
    if not all(np.bincount(_first_label(labels[column])).max() > 1 for column in drawn.T):
        return Parts(drawn, np.zeros_like(drawn), test, folds, None)
    valid = np.stack([_fifth(labels, column, seed) for column in drawn.T], axis=1)
    return Parts(drawn & ~valid, valid, test, folds, f"{HELD_OUT:.0%} of the {few.words} that were drawn")


def _first_label(labels: NDArray) -> NDArray:
    """(n,) classes of (n,) or multi-hot (n, C) labels."""
    return labels if labels.ndim == 1 else labels.argmax(1)


def _fifth(labels: NDArray, train: NDArray[np.bool_], seed: int) -> NDArray[np.bool_]:
    """A random fifth of the training clips (n,), class by class; at least one stays in training."""
    rng = np.random.default_rng(seed)
    chosen = np.zeros(len(train), dtype=bool)
    classes = _first_label(labels)
    for label in np.unique(classes[train]):
        own = rng.permutation(np.flatnonzero(train & (classes == label)))
        chosen[own[: min(len(own) - 1, max(1, round(len(own) * HELD_OUT)))]] = True
    if not chosen.any():  # one clip a class
        chosen[rng.choice(np.flatnonzero(train))] = True
    return chosen
