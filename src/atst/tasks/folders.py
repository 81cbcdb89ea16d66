"""A folder of class folders becomes a task."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from atst.errors import UsageError
from atst.events.formats import is_annotation
from atst.events.recordings import own_names
from atst.sound.names import same_form
from atst.sound.walk import has_other_name, walk
from atst.tasks.listing import SHOWN, Listing, audio_under, build_task
from atst.tasks.task import Task

# Common names of the three splits.
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


def folder_task(folder: Path, seed: int = 0) -> Task:
    """A clip's class is the name of the folder that it is in: `folder/CLASS/**/clip.wav`.

    Where the folders are named like splits (train, valid, test) the classes are below them; otherwise splits
    are drawn with `seed` (see `drawn`). Files outside the class folders are left out with a message. Raises
    `UsageError` if there is no audio, only one class, a class of fewer than three clips, or a split missing.
    """
    found = audio_under(folder)
    _check_annotations(folder, found)
    files = sorted(file for file in found if "/" in file)
    if not files:
        raise UsageError(
            f"{folder} is not a task: it has neither a meta.csv nor a folder of audio for each class."
        )
    source = ""
    if splits := _split_folders(folder, {file.split("/")[0] for file in files}):
        loose = next((file for file in files if file.count("/") < 2), None)
        if loose is not None:
            raise UsageError(f"{folder}: {loose} is not in a class folder.")
        parts = [splits[file.split("/")[0]] for file in files]
        labels = _labels(folder, [file.split("/")[1] for file in files])
    else:
        labels = _labels(folder, [file.split("/")[0] for file in files])
        parts = ["all"] * len(files)
    if len(found) > len(files):
        left_out = f"Left out: {len(found) - len(files)} audio files outside the class folders."
        print(f"{folder}: {left_out}", file=sys.stderr, flush=True)
        source = left_out
    listing = Listing(files, labels, parts, "split" if splits else "draw")
    return build_task(folder, folder, listing, seed, name=f"{folder.resolve().name}/", source=source)


def _check_annotations(folder: Path, audio: set[str]) -> None:
    """Raises `UsageError` where a table of an annotation program lies beside audio or is named after it."""
    folders = {(folder / file).parent for file in audio}
    names = {name for file in audio for name in (Path(file).name, Path(file).stem)}
    for path in map(Path, walk(folder, [], wanted=has_other_name)):
        if (path.parent in folders or names.intersection(own_names(path))) and is_annotation(path):
            command = f"atst annotations {folder} --window SECONDS --out meta.csv"
            found = f"its labels are in annotation tables ({path})"
            raise UsageError(f"{folder} is not a task yet: {found}; run {command} first.")


def _split_folders(folder: Path, tops: set[str]) -> dict[str, str]:
    """The split of each top folder; empty if no folder is named like one. Raises `UsageError`."""
    named = {top: SPLIT_NAMES[top.lower()] for top in sorted(tops) if top.lower() in SPLIT_NAMES}
    absent = [split for split in ("train", "test") if split not in named.values()]
    lacking = [f"there is no {split} folder with audio" for split in absent]
    others = sorted(tops - set(named))
    if others:
        shown = ", ".join(others[:SHOWN]) + (", ..." if len(others) > SHOWN else "")
        lacking.append(f"{shown} is not a split")
    if named and lacking:
        found = f"{folder} looks like splits ({', '.join(named)}) but {' and '.join(lacking)}"
        raise UsageError(f"{found}; use train/CLASS, test/CLASS and maybe valid/CLASS, or a meta.csv.")
    return named


def _labels(folder: Path, classes: list[str]) -> list[Sequence[str]]:
    """The label of each clip: its class folder's name, as UTF-8. Raises `UsageError` if two are the same."""
    folders: dict[str, str] = {}
    for name in sorted(set(classes)):
        label = _utf8(name)
        if label in folders and "\ufffd" in label:
            both = f"{folders[label]!a} and {name!a}"
            raise UsageError(f"{folder}: class folders {both} are not UTF-8 and look the same: rename one.")
        folders[label] = name
    return [[_utf8(name)] for name in classes]


def _utf8(name: str) -> str:
    return same_form(os.fsencode(name).decode("utf-8", "replace"))
