"""The fingerprint of a task's clips, and warnings about clips that limit what a result says."""

import hashlib
import json

import numpy as np
from numpy.typing import NDArray

from atst.output.text import writable
from atst.scoring.splits import FewShot
from atst.tasks import Task


def task_fingerprint(task: Task) -> str:
    """A hash of the task's clips, labels and parts."""
    described = [task.names, task.label_names, task.parts.tolist()]
    described += [] if task.segments is None else [task.segments.tolist()]
    described += [] if task.tested is None else [task.tested.tolist()]
    digest = hashlib.sha256(json.dumps(described).encode())
    digest.update(task.labels.tobytes())
    return f"{task.name} {digest.hexdigest()[:16]}"


def left_out(task: Task, skipped: int) -> list[str]:
    """Warnings about clips of a task that a result does not cover."""
    warnings = [f"{skipped} of {len(task)} clips could not be read and were skipped."] if skipped else []
    warnings += task.warnings
    if task.missing:
        warnings.append(f"{len(task.missing)} labelled clips have no file and were left out.")
    return warnings


def unseen(
    task: Task, rows: NDArray[np.int64], train: NDArray[np.bool_], test: NDArray[np.bool_]
) -> list[str]:
    """A warning if, in any fold, test clips have a class that no training clip has.

    `train` and `test` (n, F) say on which of the clips `rows` (n,) each classifier is trained and tested.
    """
    lacking = [
        (task.class_counts(rows[tested]) > 0) & (task.class_counts(rows[trained]) == 0)
        for trained, tested in zip(train.T, test.T, strict=True)
    ]
    names = [task.label_names[i] for i in np.flatnonzero(np.any(lacking, axis=0))]
    if not names:
        return []
    have = "class has" if len(names) == 1 else "classes have"
    they = "it" if len(names) == 1 else "they"
    fold, there = (" in some fold", " there") if len(lacking) > 1 else ("", "")
    example = f"for example '{writable(names[0])}': {they} cannot be predicted{there}."
    return [f"{len(names)} {have} test clips but no training clip{fold}, {example}"]


def scarce(
    task: Task, rows: NDArray[np.int64], train: NDArray[np.bool_], few_shot: FewShot | None
) -> list[str]:
    """A warning if a class has fewer training clips than were asked for.

    `train` (n, F) are the drawn ones of the clips `rows` (n,), for each classifier.
    """
    if few_shot is None or few_shot.shots is None:
        return []
    counts = np.stack([task.class_counts(rows[drawn]) for drawn in train.T])
    lacking = int((counts < few_shot.shots).any(0).sum())
    text = f"{lacking} classes have fewer than {few_shot.shots} training clips; all were used."
    return [text] if lacking else []
