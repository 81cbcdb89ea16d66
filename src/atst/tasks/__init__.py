"""Labelled data sets: `load_task` finds one by its name, its `meta.csv`, or its folder of class folders."""

from pathlib import Path

from atst.errors import UsageError, unknown
from atst.sound.packed import is_packed
from atst.tasks.division import drawn
from atst.tasks.folders import folder_task
from atst.tasks.packed import packed_task
from atst.tasks.published import PublishedResult, published
from atst.tasks.registry import DATASETS, load_registered, registered_classes
from atst.tasks.spec import DatasetSpec
from atst.tasks.synthetic import synthetic_task
from atst.tasks.tables import read_task
from atst.tasks.task import Metric, Task

__all__ = [
    "DATASETS",
    "DatasetSpec",
    "Metric",
    "PublishedResult",
    "Task",
    "classes_of",
    "drawn",
    "load_task",
    "published",
    "task_names",
]


def load_task(
    task: str | Path | Task, data: str | Path | None = None, option: str = "--data", seed: int = 0
) -> Task:
    """The task of that name, or the one that a CSV file or a folder describes.

    Args:
        task: a registered name (`task_names()`); or the path of a CSV file with the columns `path` and
            `label` (see `read_task` for others); or of a folder with a `meta.csv` or with a folder for each
            class; or of a packed corpus that was made of such a CSV file; or a `Task`, which is returned.
        data: the folder that holds a registered task's files; by default `$ATST_DATA/<its folder>`.
        option: what gives `data` on the command line, for messages.
        seed: draws the splits of data that comes without any.

    Raises:
        UsageError: the name is unknown, its folder is not given, or the files are not a valid task.
    """
    if isinstance(task, Task):
        if data is not None:
            raise UsageError(
                f"{option} {data} is for registered tasks; {task.name} is ready, so leave it out."
            )
        return task
    name = str(task)
    if name == "synthetic":
        return synthetic_task()
    if name in DATASETS:
        return load_registered(name, data, option, seed)
    path = Path(task)
    if data is not None and (name.endswith(".csv") or path.exists()):
        raise UsageError(f"{option} {data} is for registered tasks; {name} is a path, so leave it out.")
    if is_packed(name):
        return packed_task(name, seed)
    if path.is_dir() and not (path / "meta.csv").is_file():
        return folder_task(path, seed)
    if name.endswith(".csv") or path.exists():
        return read_task(path / "meta.csv" if path.is_dir() else path, seed=seed)
    raise UsageError(f"{unknown('task', name, task_names())} Or give the path of a meta.csv or a folder.")


def classes_of(task: str | Path, data: str | Path | None = None) -> tuple[list[str], bool]:
    """The names of a task's classes, in its order, and whether a clip can have several.

    For a registered task the metadata files are enough. Arguments and errors are those of `load_task`.
    """
    if str(task) in DATASETS:
        return registered_classes(str(task), data)
    loaded = load_task(task, data)
    return loaded.label_names, loaded.multi_label


def task_names() -> list[str]:
    """The registered names."""
    return sorted([*DATASETS, "synthetic"])
