"""Labelled data sets: `load_task` finds one by its name or by its `meta.csv`."""

import os
from pathlib import Path

from atst.errors import UsageError, unknown
from atst.tasks.known import KNOWN
from atst.tasks.metadata import read_task
from atst.tasks.synthetic import synthetic_task
from atst.tasks.task import Metric, Task

__all__ = ["KNOWN", "Metric", "Task", "load_task", "task_names"]


def load_task(task: str | Path, data: str | Path | None = None) -> Task:
    """The task of that name, or the one that a CSV file describes.

    Args:
        task: a registered name (`task_names()`), or the path of a CSV file with the columns `path`,
            `label`, and `split` or `fold`.
        data: the folder that holds a registered task's files; by default `$ATST_DATA/<its folder>`.

    Raises:
        UsageError: the name is unknown, its folder is not given, or the table cannot be meant.
    """
    name = str(task)
    if name == "synthetic":
        return synthetic_task()
    if name in KNOWN:
        known = KNOWN[name]
        table = _folder(name, data) / known.table
        if not table.is_file():
            raise UsageError(
                f"task {name}: {table.parent} has no {known.table}; --data is the folder that holds it."
            )
        return read_task(table, name, known.rates, known.source)
    if name.endswith(".csv") or Path(task).exists():
        path = Path(task)
        return read_task(path / "meta.csv" if path.is_dir() else path)
    raise UsageError(f"{unknown('task', name, task_names())} Or give the path of a meta.csv.")


def task_names() -> list[str]:
    """The registered names."""
    return sorted([*KNOWN, "synthetic"])


def _folder(name: str, data: str | Path | None) -> Path:
    if data is not None:
        return Path(data)
    root = os.environ.get("ATST_DATA")
    folder = Path(root) / KNOWN[name].folder if root else None
    if folder is not None and folder.is_dir():
        return folder
    looked = f" ({folder} does not exist)" if folder else ""
    raise UsageError(
        f"task {name} needs its files: give --data DIR, or set ATST_DATA to the folder above{looked}."
    )
