"""Which clips train, validate and test: each fold of a task, or its one split."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from atst.errors import UsageError
from atst.tasks import Task
from atst.tasks.division import HOLD_OUT_FRACTION, HOLDOUTS, first_label, grouped_folds

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

    def check(self, task: Task) -> None:
        """Raises `UsageError` for shots of a multi-label task, whose clips belong to no one class."""
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
            clips = rng.permutation(np.flatnonzero(pool & (classes == label)))
            drawn[clips[: self.shots or max(1, round((self.fraction or 0) * len(clips)))]] = True
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
    labels, groups = task.labels[rows], None if task.groups is None else task.groups[rows]
    train, valid, test, folds = _given(task, rows)
    if few_shot is None and valid.any():
        return Splits(train, valid, test, None, None, valid[:, :, None])
    if few_shot is not None:
        drawn = _drawn(few_shot, labels, train, seed)
        return _few_shot_splits(labels, groups, drawn, test, folds, seed, few_shot.description)
    if folds is not None and len(folds) >= WHOLE_FOLDS:
        holdouts = np.stack([np.roll(~train, -shift, axis=1) for shift in range(1, len(folds))], axis=2)
        return _held_out(train, holdouts, test, folds, "the fold after the test fold")
    fifth = "the training clips of each class" if groups is None else "the training recordings"
    return _held_out(train, _fifths(labels, train, seed, groups), test, folds, f"a fifth of {fifth}")


def train_test_splits(
    task: Task, rows: NDArray[np.int64], seed: int, few_shot: FewShot | None = None
) -> Splits:
    """The splits of the clips `rows` of a task where nothing is selected: without validation clips.

    Those of a validation split are training clips; with `few_shot` all are drawn from both.
    """
    train, valid, test, folds = _given(task, rows)
    train = train | valid
    if few_shot is not None:
        train = _drawn(few_shot, task.labels[rows], train, seed)
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
    if task.folds is None:
        assert task.splits is not None, "a task has splits or folds"
        train, valid, test = ((task.splits[rows] == name)[:, None] for name in ("train", "valid", "test"))
        return train, valid, test, None
    folds = np.unique(task.folds[rows]).tolist()
    of_fold = np.stack([task.folds[rows] == fold for fold in folds], axis=1)
    test = of_fold if task.tested is None else of_fold & task.tested[rows, None]
    return ~of_fold, np.zeros_like(test), test, folds


def _drawn(few_shot: FewShot, labels: NDArray, train: NDArray[np.bool_], seed: int) -> NDArray[np.bool_]:
    """Those of the training clips (n, F) that are drawn, for each fold anew."""
    return np.stack([few_shot.draw(labels, column, seed) for column in train.T], axis=1)


def _few_shot_splits(
    labels: NDArray,
    groups: NDArray[np.int64] | None,
    drawn: NDArray[np.bool_],
    test: NDArray[np.bool_],
    folds: list[int] | None,
    seed: int,
    description: str,
) -> Splits:
    """A fifth of the drawn clips (n, F) is held out, none if every class has only one."""
    if not all(np.bincount(first_label(labels[column])).max() > 1 for column in drawn.T):
        nothing = np.zeros_like(drawn)
        return Splits(drawn, nothing, test, folds, None, nothing[:, :, None])
    holdouts = _fifths(labels, drawn, seed, groups)
    if groups is not None and not _all_classes_stay(labels, drawn, holdouts):
        holdouts = _fifths(labels, drawn, seed, None)  # the few clips are of too few recordings
    return _held_out(drawn, holdouts, test, folds, f"a fifth of the {description} that were drawn")


def _held_out(
    train: NDArray[np.bool_],
    holdouts: NDArray[np.bool_],
    test: NDArray[np.bool_],
    folds: list[int] | None,
    description: str,
) -> Splits:
    """Splits of the training clips (n, F), of which all `holdouts` (n, F, K) could be held out."""
    clips = holdouts.sum(0).min(0).cumsum()  # (K,) clips held out so far
    count = 1 + int(np.searchsorted(clips, min(MIN_VALID_CLIPS, clips[-1])))
    valid = holdouts[:, :, 0]
    return Splits(train & ~valid, valid, test, folds, description, holdouts[:, :, :count])


def _all_classes_stay(labels: NDArray, train: NDArray[np.bool_], holdouts: NDArray[np.bool_]) -> bool:
    """Whether the training clips (n, F) without those of any hold-out (n, F, K) still have every class."""
    classes = first_label(labels)
    return all(
        set(classes[column & ~held_out]) == set(classes[column])
        for column, fifths in zip(train.T, holdouts.transpose(1, 2, 0), strict=True)
        for held_out in fifths
    )


def _fifths(
    labels: NDArray, train: NDArray[np.bool_], seed: int, groups: NDArray[np.int64] | None
) -> NDArray[np.bool_]:
    """Random fifths (n, F, K) of the training clips (n, F), class by class; one clip at least always stays.

    With `groups` (n,) they are of whole groups, unless all training clips are of one.
    """
    holdouts = np.zeros((*train.shape, HOLDOUTS), dtype=bool)
    classes = first_label(labels)
    for column, fifths in zip(train.T, holdouts.transpose(1, 0, 2), strict=True):
        numbers = None if groups is None else grouped_folds(classes[column], groups[column], seed)
        if numbers is not None:
            fifths[np.flatnonzero(column), numbers] = True
            continue
        rng = np.random.default_rng(seed)
        for label in np.unique(classes[column]):
            clips = rng.permutation(np.flatnonzero(column & (classes == label)))
            size = min(len(clips) - 1, max(1, round(HOLD_OUT_FRACTION * len(clips))))
            for repeat in range(HOLDOUTS):
                fifths[clips[repeat * size : (repeat + 1) * size], repeat] = True
        if not fifths.any():  # one clip a class
            fifths[rng.choice(np.flatnonzero(column)), 0] = True
    return holdouts
