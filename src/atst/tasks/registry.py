"""How a registered task is read from its folder."""

import os
from pathlib import Path

from atst.errors import UsageError
from atst.tasks.listing import SHOWN, Listing, audio_under, build_task, class_names, with_files
from atst.tasks.spec import DATASETS, DatasetSpec
from atst.tasks.tables import check_segments, read_table, read_task
from atst.tasks.task import Task


def load_registered(name: str, data: str | Path | None, option: str = "--data", seed: int = 0) -> Task:
    """The registered task of that name, from a prepared table or the official layout in its folder.

    Clips without a file are an error, except where some can no longer be downloaded (AudioSet): there they
    are left out and listed in the task's `missing`. For a prepared table without splits they are drawn by
    `seed`. Raises `UsageError`, in which `data` is called `option`.
    """
    spec = DATASETS[name]
    folder = data_folder(name, data, option)
    if (folder / spec.table).is_file():
        return read_task(folder / spec.table, name, spec.learning_rates, spec.source, seed)
    root = official_root(name, folder, option)
    listing, missing, _ = read_official(spec, root)
    if missing and (not spec.vanishing or not listing.files):
        shown = ", ".join(missing[:SHOWN]) + (", ..." if len(missing) > SHOWN else "")
        count = f"{len(missing)} of {len(missing) + len(listing.files)} clips"
        more = f"See atst tasks check {name} --data {folder}."
        raise UsageError(f"task {name}: {count} have no file in {root}: {shown}. {more}")
    return build_task(
        root,
        root,
        listing,
        name=name,
        learning_rates=spec.learning_rates,
        source=spec.source,
        missing=tuple(missing),
    )


def registered_classes(name: str, data: str | Path | None) -> tuple[list[str], bool]:
    """The names of a registered task's classes, in its order, and whether a clip can have several.

    The metadata files are enough; the audio may be missing. Raises `UsageError` as `load_registered`.
    """
    spec = DATASETS[name]
    folder = data_folder(name, data)
    if (folder / spec.table).is_file():
        listing = read_table(folder / spec.table)
    else:
        root = official_root(name, folder)
        assert spec.read is not None, "a task without an official layout has a table"
        listing = spec.read(root, audio_under(root, spec.audio))
    return class_names(listing), listing.multi_label


def read_official(spec: DatasetSpec, root: Path) -> tuple[Listing, list[str], list[str]]:
    """The clips with a file, the names of those without, and the audio files without a label."""
    assert spec.read is not None, "a task without an official layout has a table"
    audio = audio_under(root, spec.audio)
    everything = spec.read(root, audio)
    listing, missing = with_files(everything, audio)
    return listing, missing, sorted(audio - set(listing.files))


def read_prepared(table: Path) -> tuple[Listing, list[str], list[str]]:
    """The same for a prepared table."""
    everything = read_table(table)
    audio = audio_under(table.parent)
    # A table may name files elsewhere, or spell a path differently than a folder's listing.
    audio |= {file for file in everything.files if file not in audio and (table.parent / file).is_file()}
    listing, missing = with_files(everything, audio)
    check_segments(table, listing)
    return listing, missing, sorted(audio - set(listing.files))


def official_root(name: str, folder: Path, option: str = "--data") -> Path:
    """Where the official layout begins: `folder`, or the one folder in it that an archive unpacked to.

    Raises `UsageError` saying what is not there.
    """
    spec = DATASETS[name]
    if spec.read is not None:
        roots = [folder] if spec.lacks(folder) == [] else _unpacked(spec, folder)
        if len(roots) == 1:
            return roots[0]
        if roots:
            shown = " and ".join(root.name for root in roots)
            raise UsageError(
                f"task {name}: {folder} holds several copies, in {shown}; give one of them as {option}."
            )
    absent = spec.lacks(folder)
    rest = f" (official layout: no {', no '.join(absent)})" if absent else ""
    raise UsageError(
        f"task {name}: {folder} has no {spec.table}{rest}; {option} is the folder that holds it. "
        f"Files: {spec.get}."
    )


def _unpacked(spec: DatasetSpec, folder: Path) -> list[Path]:
    """The folders in `folder` that hold the official layout, whatever they are called."""
    try:
        inside = sorted(path for path in folder.iterdir() if path.is_dir() and path.name[0] != ".")
    except OSError:
        return []  # reported by the caller
    return [path for path in inside if not spec.lacks(path)]


def data_folder(name: str, data: str | Path | None, option: str = "--data") -> Path:
    """The folder given, else the task's in ATST_DATA. Raises `UsageError` if there is none."""
    if data is not None:
        return Path(data)
    root = os.environ.get("ATST_DATA")
    folder = Path(root) / DATASETS[name].folder if root else None
    if folder is not None and folder.is_dir():
        return folder
    looked = f" ({folder} does not exist)" if folder else ""
    raise UsageError(
        f"task {name} needs its files: give {option} DIR, or set ATST_DATA to the folder above{looked}."
    )
