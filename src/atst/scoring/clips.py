"""What a probe and a fine-tuning take of a task: how much of each clip, which ones, what is left out."""

import hashlib
import json

from atst.tasks import Task

CLIP_SECONDS = 12.0  # of longer clips the middle is used, as the paper's evaluation does


def task_fingerprint(task: Task) -> str:
    """A hash of the task's clips, labels and parts."""
    parts = task.splits if task.splits is not None else task.folds
    assert parts is not None, "a task has splits or folds"
    described = [task.names, task.label_names, parts.tolist()]
    described += [] if task.segments is None else [task.segments.tolist()]
    digest = hashlib.sha256(json.dumps(described).encode())
    digest.update(task.labels.tobytes())
    return f"{task.name} {digest.hexdigest()[:16]}"


def left_out(task: Task, skipped: int) -> list[str]:
    """Warnings of the clips of a task that a result does not cover."""
    warnings = [f"{skipped} of {len(task)} clips could not be read and were skipped."] if skipped else []
    warnings += task.warnings
    if task.missing:
        warnings.append(f"{len(task.missing)} labelled clips have no file and were left out.")
    return warnings
