"""`atst tasks`: the registered data sets, and whether a download of one is complete."""

import os
import sys
from pathlib import Path
from typing import Literal

from rich.console import Console

from atst.errors import AtstError, UsageError, unknown
from atst.output.text import print_table, writable
from atst.tasks import DATASETS, published
from atst.tasks.check import check_task
from atst.tasks.download import download as fetch
from atst.tasks.download import unfinished
from atst.tasks.registry import data_folder, official_root


def tasks(
    action: Literal["check"] | None = None,
    name: str | None = None,
    /,
    *,
    data: Path | str | None = None,
    download: bool = False,
) -> None:
    """List the registered tasks, or check the files of one.

    Without an action, lists the tasks and which of them are in $ATST_DATA. `check NAME` compares the
    clips with the published numbers, lists labels without a file and files without a label, and says where to
    get what is missing; it exits with 1 if anything is. Your own data needs no registration: see
    `atst probe --help`.

    Example: `atst tasks check esc50 --data data/esc50 --download`

    Parameters
    ----------
    action
        `check`, or nothing to list the tasks.
    name
        The task to check.
    data
        Folder with the files of that task. Default: its folder in $ATST_DATA.
    download
        First download what public servers offer into `data` (needs the extra `data`). Interrupted downloads
        continue.
    """
    if action is None:
        if data is not None or download:
            raise UsageError("--data and --download need a task: atst tasks check NAME --data DIR")
        _list()
        return
    if name is None:
        raise UsageError(f"atst tasks check needs the NAME of a task: {', '.join(DATASETS)}.")
    if name not in DATASETS:
        raise unknown("task", name, DATASETS)
    if download:
        _download(name, data)
    checked = check_task(name, data_folder(name, data))
    for line in checked.lines():
        _print(line)
    if not checked.complete:
        raise AtstError(checked.verdict())
    _print(checked.verdict())


def _download(name: str, data: Path | str | None) -> None:
    spec = DATASETS[name]
    if not spec.archives:
        raise UsageError(f"task {name}: no public server offers it. Files: {spec.get}.")
    root = os.environ.get("ATST_DATA")
    if data is None and not root:
        raise UsageError(f"task {name}: give --data DIR, the folder to download to.")
    folder = Path(data) if data is not None else Path(root or "") / spec.folder
    try:
        if check_task(name, folder).complete and not unfinished(spec.archives, folder):
            return
    except AtstError:
        pass  # nothing there yet
    for remark in fetch(spec.archives, folder):
        _print(remark)


def _list() -> None:
    """A table on a terminal, else a line a task whose numbers say what they count."""
    table = Console().is_terminal
    rows = []
    for name, spec in DATASETS.items():
        clips, classes, figures = str(spec.total), str(spec.classes or "?"), str(len(published(name)))
        if not table:
            clips, classes, figures = f"{clips} clips", f"{classes} classes", f"published figures: {figures}"
        rows.append([name, spec.about, clips, classes, spec.metric, figures, spec.license, _there(name)])
    if table:
        print_table(("task", "what", "clips", "classes", "metric", "published", "license", "files"), rows)
        return
    for row in [*rows, ["synthetic", "12 kinds of sounds made on the fly; never evidence"]]:
        _print("  ".join(row))


def _there(name: str) -> str:
    """Whether the metadata are in ATST_DATA; the clips are not counted, which can take minutes."""
    try:
        folder = data_folder(name, None)
        if not (folder / DATASETS[name].table).is_file():
            official_root(name, folder)
    except UsageError:
        return "-"
    return str(folder)


def _print(line: str) -> None:
    """Print a line unwrapped; a file name may not be valid UTF-8."""
    sys.stdout.write(writable(line) + "\n")
