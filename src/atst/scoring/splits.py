"""Which clips train, validate and test: each fold of a task, or its one split."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from atst.errors import UsageError
from atst.tasks import Task
from atst.tasks.division import HOLD_OUT_FRACTION, HOLDOUTS, grouped_folds
from atst.tasks.task import SPLITS

MIN_VALID_CLIPS = 300  # with fewer, the hold-out is repeated with other training clips
WHOLE_FOLDS = 3  # folds from which on a whole one can be held out


@dataclass(frozen=True)
class FewShot:
    """How many labels a classifier may see, validation included: one of the two is given."""

    shots: int | None = None  # training clips of each class
    fraction: float | None = None  # of the training clips of each class, one at least

    @classmethod
    def from_options(cls, shots: int | None, fraction: float | None) -> "FewShot | None":
        """What `--shots` and `--fraction` ask for; None if neither is given. Raises `UsageError`."""
        if shots is not None and fraction is not None:
            raise UsageError("--shots and --fraction both say how many labels are used; give one.")
        if shots is not None and shots < 1:
            raise UsageError(f"--shots must be 1 or more, not {shots}.")
        if fraction is not None and not 0 < fraction <= 1:
            raise UsageError(f"--fraction must be more than 0 and at most 1, not {fraction:g}.")
        return None if shots is None and fraction is None else cls(shots, fraction)

    @property
    def description(self) -> str:
        """For tables and reports."""
        if self.shots is not None:
            return f"{self.shots} training clip{'s' if self.shots > 1 else ''} of each class"
        return f"{self.fraction:.3g} of the training clips of each class"

    def check(self, name: str, multi_label: bool) -> None:
        """Raises `UsageError` for shots of a multi-label task, whose clips belong to no one class."""
        if self.shots is not None and multi_label:
            raise UsageError(f"--shots counts clips of one class; {name} is multi-label: give --fraction.")

    def draw(self, classes: NDArray[np.int64], pool: NDArray[np.bool_], seed: int) -> NDArray[np.bool_]:
        """The clips (n, F) that are drawn from those of `pool` (n, F), class by class, fold by fold."""
        drawn = np.zeros_like(pool)
        for fold, of_fold in zip(pool.T, drawn.T, strict=True):
            rng = np.random.default_rng(seed)
            for label in np.unique(classes[fold]):
                clips = rng.permutation(np.flatnonzero(fold & (classes == label)))
                of_fold[clips[: self.shots or max(1, round((self.fraction or 0) * len(clips)))]] = True
        return drawn


@dataclass
class Splits:
    """Masks over n clips for each of F classifiers; no clip is in two splits of one classifier."""

    train: NDArray[np.bool_]  # (n, F)
    valid: NDArray[np.bool_]  # (n, F)
    test: NDArray[np.bool_]  # (n, F)
    folds: list[int] | None  # the fold that each classifier is tested on
    held_out: str | None  # description of `valid` if it was held out of the training clips
    holdouts: NDArray[np.bool_]  # (n, F, K): `valid`, then other clips for repeated hold-out

    @property
    def count(self) -> int:
        """The number of classifiers: F."""
        return self.train.shape[1]

    @property
    def train_and_valid(self) -> NDArray[np.bool_]:
        """(n, F): the training clips, including those held out of them."""
        return self.train | self.valid if self.held_out else self.train

    @property
    def selected_on(self) -> str:
        """A description of all validation clips."""
        if self.held_out is None:
            return "the validation split"
        repeats = self.holdouts.shape[2]
        return self.held_out if repeats == 1 else f"{self.held_out} ({repeats} hold-outs of different clips)"


def make_splits(task: Task, rows: NDArray[np.int64], seed: int, few_shot: FewShot | None = None) -> Splits:
    """The splits of the clips `rows` of a task.

    Where the task has no validation split, some training clips are held out: with three or more folds the
    fold after the test fold (it shares no recording with the others), else a fifth of each class, or of the
    recordings where clips share them. With `few_shot`, training and validation clips are both taken from the
    drawn training clips, and a validation split is not used. A few validation clips select by chance, so the
    hold-out can be repeated: `holdouts` holds the next fold or fifth, until there are `MIN_VALID_CLIPS` or
    every clip has been held out once.
    """
    classes, groups = task.first_labels[rows], None if task.groups is None else task.groups[rows]
    train, valid, test, folds = _given(task, rows)
    if few_shot is None and valid.any():
        return Splits(train, valid, test, None, None, valid[:, :, None])
    if few_shot is not None:
        train = few_shot.draw(classes, train, seed)
        if min(np.bincount(classes[column]).max() for column in train.T) == 1:  # nothing can be held out
            nothing = np.zeros_like(train)
            return Splits(train, nothing, test, folds, None, nothing[:, :, None])
    if few_shot is None and folds is not None and len(folds) >= WHOLE_FOLDS:
        description = "the fold after the test fold"
        holdouts = np.stack([np.roll(~train, -shift, axis=1) for shift in range(1, len(folds))], axis=2)
    else:
        divided = "the training clips of each class" if groups is None else "the training recordings"
        if few_shot is not None:
            divided = f"the {few_shot.description} that were drawn"
        description = f"a fifth of {divided}"
        holdouts = _random_holdouts(classes, train, seed, groups, all_classes=few_shot is not None)
    clips = holdouts.sum(0).min(0).cumsum()  # (K,) clips held out so far
    count = 1 + int(np.searchsorted(clips, min(MIN_VALID_CLIPS, clips[-1])))
    valid = holdouts[:, :, 0]
    return Splits(train & ~valid, valid, test, folds, description, holdouts[:, :, :count])


def train_test_splits(
    task: Task, rows: NDArray[np.int64], seed: int, few_shot: FewShot | None = None
) -> Splits:
    """The splits of the clips `rows` of a task where nothing is selected: without validation clips.

    Those of a validation split are training clips; with `few_shot` all are drawn from both.
    """
    train, valid, test, folds = _given(task, rows)
    train = train | valid
    if few_shot is not None:
        train = few_shot.draw(task.first_labels[rows], train, seed)
    nothing = np.zeros_like(train)
    return Splits(train, nothing, test, folds, None, nothing[:, :, None])


def drawn_clips(few_shot: FewShot, splits: Splits, seed: int) -> str:
    """A description of the clips that the first classifier was trained on."""
    fold = "" if splits.folds is None else f", none of them in fold {splits.folds[0]}"
    return f"{few_shot.description}, drawn with seed {seed}{fold}"


def _given(
    task: Task, rows: NDArray[np.int64]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_], list[int] | None]:
    """Training, validation and test clips (n, F) as the task has them, and its folds.

    Clips of a fold that are not tested with it are in neither.
    """
    parts = task.parts[rows]
    if task.folds is None:
        train, valid, test = ((parts == name)[:, None] for name in SPLITS)
        return train, valid, test, None
    folds = np.unique(parts).tolist()
    of_fold = np.stack([parts == fold for fold in folds], axis=1)
    test = of_fold if task.tested is None else of_fold & task.tested[rows, None]
    return ~of_fold, np.zeros_like(test), test, folds


def _random_holdouts(
    classes: NDArray[np.int64],
    train: NDArray[np.bool_],
    seed: int,
    groups: NDArray[np.int64] | None,
    all_classes: bool,
) -> NDArray[np.bool_]:
    """Random fifths (n, F, K) of the training clips (n, F), class by class; one clip at least always stays.

    With `groups` (n,) they are of whole groups, unless all training clips are of one, or, with
    `all_classes`, a class would have no clip left.
    """
    holdouts = np.zeros((*train.shape, HOLDOUTS), dtype=bool)
    for column, held_out in zip(train.T, holdouts.transpose(1, 0, 2), strict=True):
        there = classes[column]
        numbers = None if groups is None else grouped_folds(there, groups[column], seed)
        if numbers is not None and not (
            all_classes and any(set(there[numbers != fold]) != set(there) for fold in range(HOLDOUTS))
        ):
            held_out[np.flatnonzero(column), numbers] = True
            continue
        rng = np.random.default_rng(seed)
        for label in np.unique(classes[column]):
            clips = rng.permutation(np.flatnonzero(column & (classes == label)))
            size = min(len(clips) - 1, max(1, round(HOLD_OUT_FRACTION * len(clips))))
            for repeat in range(HOLDOUTS):
                held_out[clips[repeat * size : (repeat + 1) * size], repeat] = True
        if not held_out.any():  # one clip a class
            held_out[rng.choice(np.flatnonzero(column)), 0] = True
    return holdouts
