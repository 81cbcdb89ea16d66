"""Which clips train, choose and test where a task does not say: drawn, whole recordings together."""

import warnings
from collections import Counter
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold

from atst.errors import UsageError
from atst.tasks.task import SPLITS, Task

HOLD_OUT_FRACTION = 0.2  # of the clips of a class, or of the recordings
HOLDOUTS = 5  # then every clip is held out once
NEEDED = 3  # clips of a class, or recordings, to divide: one each to train, to choose and to test


def drawn(task: Task, seed: int) -> Task:
    """The task with its parts drawn by `seed`, if they are not given; else the task.

    Of each class a fifth tests, a fifth is for choosing and the rest trains. Clips of one recording stay
    together, which makes these shares rough. Raises `UsageError` if there are too few to divide.
    """
    given = task.drawn is None and (task.splits is not None or task.folds is not None)
    if given or task.drawn == seed:
        return task
    classes = first_label(task.labels)
    parts = _by_class(task, classes, seed) if task.groups is None else _by_group(task, classes, seed)
    return replace(task, splits=parts, drawn=seed, division=_words(task, parts, seed))


def first_label(labels: NDArray) -> NDArray[np.int64]:
    """(n,) classes of (n,) or multi-hot (n, C) labels; C stands for none of them."""
    if labels.ndim == 1:
        return labels
    return np.where(labels.any(1), labels.argmax(1), labels.shape[1])


def grouped_folds(
    classes: NDArray[np.int64], groups: NDArray[np.int64], seed: int
) -> NDArray[np.int64] | None:
    """The fold, 0 to 4, of each of n clips, the same for all of a group; classes are spread evenly.

    There are fewer folds where there are fewer groups; None if there is only one.
    """
    count = min(HOLDOUTS, len(np.unique(groups)), int(np.bincount(classes).max()))
    if count < 2:
        return None
    folds = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
    numbers = np.zeros(len(classes), dtype=np.int64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a class of fewer clips: it is spread as far as it goes
        for number, (_, own) in enumerate(folds.split(numbers, classes, groups)):
            numbers[own] = number
    return numbers


def _by_class(task: Task, classes: NDArray[np.int64], seed: int) -> NDArray[np.str_]:
    parts = np.full(len(classes), "train", dtype="<U5")
    rng = np.random.default_rng(seed)
    for label in np.unique(classes):
        own = rng.permutation(np.flatnonzero(classes == label))
        if len(own) < NEEDED and not task.multi_label:
            raise UsageError(
                f"{task.name}: class '{task.label_names[label]}' has {len(own)} clips; without a split 3 are "
                "needed."
            )
        fifth = 0 if len(own) < NEEDED else max(1, round(HOLD_OUT_FRACTION * len(own)))
        parts[own[:fifth]] = "test"
        parts[own[fifth : 2 * fifth]] = "valid"
    return parts


def _by_group(task: Task, classes: NDArray[np.int64], seed: int) -> NDArray[np.str_]:
    assert task.groups is not None, "there are groups"
    numbers = grouped_folds(classes, task.groups, seed)
    present = np.unique(task.groups).size if numbers is None else np.unique(numbers).size
    if numbers is None or present < NEEDED:
        raise UsageError(
            f"{task.name}: its clips are of {len(np.unique(task.groups))} recordings, too few to divide: at "
            "least 3 are needed, or a column 'split'."
        )
    _, test, valid = np.argsort(-np.bincount(numbers), kind="stable")[:NEEDED]  # the largest trains
    return np.select([numbers == test, numbers == valid], ["test", "valid"], "train")


def _words(task: Task, parts: NDArray[np.str_], seed: int) -> str:
    counts = Counter(parts.tolist())
    clips = ", ".join(f"{part} {counts[part]}" for part in SPLITS)
    untested = np.flatnonzero(task.class_counts(np.flatnonzero(parts == "test")) == 0)
    rest = f" {len(untested)} classes have no test clip." if len(untested) else ""
    words = (
        "No split was given: of each class a fifth tests and a fifth is for choosing, drawn with seed "
        f"{seed}: {clips} clips"
    )
    if task.groups is None:
        return f"{words}.{rest}"
    recordings = ", ".join(str(len(np.unique(task.groups[parts == part]))) for part in SPLITS)
    return f"{words} of {recordings} recordings, none of them in two parts.{rest}"
