"""Draws splits for a task that has none; all clips of a recording stay together."""

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
NEEDED = 3  # clips of a class, or recordings: one each to train, to validate and to test


def drawn(task: Task, seed: int) -> Task:
    """The task with splits drawn by `seed`, or as it is if it has splits or folds.

    A fifth of each class is for testing, a fifth for validation, the rest for training; only roughly where
    clips share recordings, since those stay together. Raises `UsageError` if there are too few clips.
    """
    given = task.drawn is None and (task.splits is not None or task.folds is not None)
    if given or task.drawn == seed:
        return task
    parts = _by_class(task, seed) if task.groups is None else _by_group(task, seed)
    return replace(task, splits=parts, drawn=seed, division=_description(task, parts, seed))


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
        warnings.simplefilter("ignore", UserWarning)  # of classes with fewer clips than folds
        for number, (_, fold) in enumerate(folds.split(numbers, classes, groups)):
            numbers[fold] = number
    return numbers


def _by_class(task: Task, seed: int) -> NDArray[np.str_]:
    parts = np.full(len(task), "train", dtype="<U5")
    rng = np.random.default_rng(seed)
    for label in np.unique(task.first_labels):
        clips = rng.permutation(np.flatnonzero(task.first_labels == label))
        if len(clips) < NEEDED and not task.multi_label:
            raise UsageError(
                f"{task.name}: class '{task.label_names[label]}' has {len(clips)} clips; without a column "
                "'split' at least 3 are needed."
            )
        fifth = 0 if len(clips) < NEEDED else max(1, round(HOLD_OUT_FRACTION * len(clips)))
        parts[clips[:fifth]] = "test"
        parts[clips[fifth : 2 * fifth]] = "valid"
    return parts


def _by_group(task: Task, seed: int) -> NDArray[np.str_]:
    assert task.groups is not None, "there are groups"
    numbers = grouped_folds(task.first_labels, task.groups, seed)
    present = np.unique(task.groups).size if numbers is None else np.unique(numbers).size
    if numbers is None or present < NEEDED:
        raise UsageError(
            f"{task.name}: its clips come from {len(np.unique(task.groups))} recordings, too few to split: "
            "at least 3 are needed, or a column 'split'."
        )
    _, test, valid = np.argsort(-np.bincount(numbers), kind="stable")[:NEEDED]  # the largest trains
    return np.select([numbers == test, numbers == valid], ["test", "valid"], "train")


def _description(task: Task, parts: NDArray[np.str_], seed: int) -> str:
    counts = Counter(parts.tolist())
    clips = ", ".join(f"{part} {counts[part]}" for part in SPLITS)
    untested = np.flatnonzero(task.class_counts(np.flatnonzero(parts == "test")) == 0)
    rest = f" {len(untested)} classes have no test clip." if len(untested) else ""
    text = f"No split was given; one was drawn with seed {seed}: {clips} clips"
    if task.groups is None:
        return f"{text}.{rest}"
    recordings = ", ".join(str(len(np.unique(task.groups[parts == part]))) for part in SPLITS)
    return f"{text} of {recordings} recordings, none of them in two splits.{rest}"
