"""Which clips train, choose and test: each fold of a task, or its one split."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from atst.errors import UsageError
from atst.tasks import Task
from atst.tasks.division import FIFTHS, first_label, grouped_fifths

ENOUGH = 300  # validation clips; with fewer, other training clips are held out in turn
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
        classes = first_label(labels)
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
    turns: NDArray[np.bool_]  # (n, F, K): `valid`, then others held out in its place

    @property
    def count(self) -> int:
        """How many classifiers are trained: F."""
        return self.train.shape[1]

    @property
    def known(self) -> NDArray[np.bool_]:
        """(n, F): the training clips, with those held out of them."""
        return self.train | self.valid if self.held_out else self.train

    @property
    def chosen_on(self) -> str:
        """What the clips of all turns are, in words."""
        if self.held_out is None:
            return "the validation split"
        turns = self.turns.shape[2]
        return self.held_out if turns == 1 else f"{self.held_out}, then others in its place, {turns} in all"


def divide(task: Task, rows: NDArray[np.int64], seed: int, few: Few | None = None) -> Parts:
    """The parts of the clips `rows` of a task.

    Where the task has no validation split, part of the training clips is held out for choosing: with three
    or more folds the next one (it shares no recording with the others), else a fifth of each class, of whole
    recordings where clips share them. With
    `few`, both are cut from the drawn training clips, and a validation split is not looked at. A few clips
    choose by chance; a classifier that is quickly trained can take turns: the next fold or the next fifth is
    held out instead, until `ENOUGH` clips or all have had theirs.
    """
    if few is not None:
        return _few_parts(task, rows, seed, few)
    groups = None if task.groups is None else task.groups[rows]
    fifth = "the training clips of each class" if groups is None else "the training recordings"
    if task.folds is None:
        assert task.splits is not None, "a task has splits or folds"
        train, valid, test = ((task.splits[rows] == part)[:, None] for part in ("train", "valid", "test"))
        if valid.any():
            return Parts(train, valid, test, None, None, valid[:, :, None])
        turns = _fifths(task.labels[rows], train, seed, groups)
        return _held_out(train, turns, test, None, f"a fifth of {fifth}")
    own = task.folds[rows]
    folds = np.unique(own).tolist()
    test = np.stack([own == fold for fold in folds], axis=1)  # (n, F)
    if len(folds) >= SPLIT_BY_FOLDS:
        turns = np.stack([np.roll(test, -turn, axis=1) for turn in range(1, len(folds))], axis=2)
        how = "the fold after the test fold"
    else:
        turns = _fifths(task.labels[rows], ~test, seed, groups)
        how = f"a fifth of {fifth}"
    return _held_out(~test, turns, test, folds, how)


def _few_parts(task: Task, rows: NDArray[np.int64], seed: int, few: Few) -> Parts:
    """Trained on a few clips; a fifth of them is held out, none where every class has only one."""
    labels, groups = task.labels[rows], None if task.groups is None else task.groups[rows]
    if task.folds is None:
        assert task.splits is not None, "a task has splits or folds"
        folds, test = None, (task.splits[rows] == "test")[:, None]  # (n, F)
        pool = (task.splits[rows] == "train")[:, None]
    else:
        folds = np.unique(task.folds[rows]).tolist()
        test = np.stack([task.folds[rows] == fold for fold in folds], axis=1)
        pool = ~test
    drawn = np.stack([few.draw(labels, column, seed) for column in pool.T], axis=1)
    if not all(np.bincount(first_label(labels[column])).max() > 1 for column in drawn.T):
        nothing = np.zeros_like(drawn)
        return Parts(drawn, nothing, test, folds, None, nothing[:, :, None])
    how = f"a fifth of the {few.words} that were drawn"
    turns = _fifths(labels, drawn, seed, groups)
    if groups is not None and not _all_classes_stay(labels, drawn, turns):
        turns = _fifths(labels, drawn, seed, None)  # the few clips are of too few recordings
    return _held_out(drawn, turns, test, folds, how)


def _held_out(
    known: NDArray[np.bool_],
    turns: NDArray[np.bool_],
    test: NDArray[np.bool_],
    folds: list[int] | None,
    how: str,
) -> Parts:
    """Parts of the training clips `known` (n, F), from which all of `turns` (n, F, K) could be held out."""
    seen = turns.sum(0).min(0).cumsum()  # (K,) clips that have been held out after each turn
    enough = 1 + int(np.searchsorted(seen, min(ENOUGH, seen[-1])))
    valid = turns[:, :, 0]
    return Parts(known & ~valid, valid, test, folds, how, turns[:, :, :enough])


def _all_classes_stay(labels: NDArray, train: NDArray[np.bool_], turns: NDArray[np.bool_]) -> bool:
    """Whether training clips (n, F) without those of any turn (n, F, K) still have every class."""
    classes = first_label(labels)
    return all(
        set(classes[own & ~held]) == set(classes[own])
        for own, fifths in zip(train.T, turns.transpose(1, 2, 0), strict=True)
        for held in fifths
    )


def _fifths(
    labels: NDArray, train: NDArray[np.bool_], seed: int, groups: NDArray[np.int64] | None
) -> NDArray[np.bool_]:
    """Random fifths (n, F, K) of the training clips (n, F), class by class; one at least stays each time.

    With `groups` (n,) they are of whole groups, unless all training clips are of one.
    """
    turns = np.zeros((*train.shape, FIFTHS), dtype=bool)
    classes = first_label(labels)
    for column, fifths in zip(train.T, turns.transpose(1, 0, 2), strict=True):
        numbers = None if groups is None else grouped_fifths(classes[column], groups[column], seed)
        if numbers is not None:
            fifths[np.flatnonzero(column), numbers] = True
            continue
        rng = np.random.default_rng(seed)
        for label in np.unique(classes[column]):
            own = rng.permutation(np.flatnonzero(column & (classes == label)))
            size = min(len(own) - 1, max(1, round(len(own) / FIFTHS)))
            for turn in range(turns.shape[2]):
                fifths[own[turn * size : (turn + 1) * size], turn] = True
        if not fifths.any():  # one clip a class
            fifths[rng.choice(np.flatnonzero(column)), 0] = True
    return turns
