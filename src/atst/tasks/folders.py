"""A folder of class folders becomes a task."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from atst.errors import UsageError
from atst.tasks.listing import Listing, audio_under, build_task
from atst.tasks.task import Task

# What others call the three parts.
SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "valid": "valid",
    "validation": "valid",
    "val": "valid",
    "dev": "valid",
    "test": "test",
    "testing": "test",
}
DIVIDED = "No split was given: of each class a fifth tests and a fifth is for choosing, drawn with seed {}."


def folder_task(folder: Path, seed: int = 0) -> Task:
    """A clip's class is the name of the folder that it is in: `folder/CLASS/**/clip.wav`.

    Where the folders are named like splits (train, valid, test) the classes are below them. Otherwise the
    clips are divided by class: a fifth to test, a fifth for choosing, the rest to train, drawn with `seed`.
    Raises `UsageError` for no audio, one class only, or a class of fewer than three clips.
    """
    files = sorted(file for file in audio_under(folder) if "/" in file)
    if not files:
        raise UsageError(
            f"{folder} is no task: it has no meta.csv and no folders of audio, one for each class."
        )
    tops = {file.split("/")[0] for file in files}
    if tops <= set(SPLIT_NAMES) and {"train", "test"} <= {SPLIT_NAMES[top] for top in tops}:
        loose = next((file for file in files if file.count("/") < 2), None)
        if loose is not None:
            raise UsageError(f"{folder}: {loose} is in no class folder.")
        parts = [SPLIT_NAMES[file.split("/")[0]] for file in files]
        labels = [[file.split("/")[1]] for file in files]
        source = ""
    else:
        labels = [[file.split("/")[0]] for file in files]
        parts = divide_by_class(folder, labels, seed)
        source = DIVIDED.format(seed)
    return build_task(
        folder, folder, Listing(files, labels, parts), name=f"{folder.resolve().name}/", source=source
    )


def divide_by_class(where: object, labels: Sequence[Sequence[str]], seed: int) -> list[str]:
    """The part of each clip: of each class (the first label) a fifth test, a fifth valid, the rest train."""
    first = np.array([own[0] for own in labels])
    parts = np.full(len(first), "train", dtype=object)
    rng = np.random.default_rng(seed)
    for label in np.unique(first):
        own = rng.permutation(np.flatnonzero(first == label))
        if len(own) < 3:
            raise UsageError(f"{where}: class '{label}' has {len(own)} clips; without a split 3 are needed.")
        fifth = max(1, round(len(own) / 5))
        parts[own[:fifth]] = "test"
        parts[own[fifth : 2 * fifth]] = "valid"
    return parts.tolist()
