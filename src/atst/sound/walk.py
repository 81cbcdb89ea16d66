"""The files under a folder."""

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from atst.output.skipped import Skipped

# What a folder is searched for; a file that is named is always tried.
ENDINGS = (
    "wav flac ogg oga opus mp3 mp2 m4a m4b aac webm mp4 mkv mka mov 3gp 3g2 aif aiff aifc au snd caf",
    "w64 rf64 wma amr ac3 wv ape tta gsm sph voc mpc tak shn dsf dff",
)
AUDIO = frozenset(f".{ending}" for line in ENDINGS for ending in line.split())
KINDS = {
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def has_audio_name(name: str) -> bool:
    """Whether a folder is searched for files of such a name."""
    dot = name.rfind(".")
    return dot > 0 and name[dot:].lower() in AUDIO


def has_other_name(name: str) -> bool:
    """Whether a file of such a name may be a table, not sound."""
    return not has_audio_name(name)


def walk(
    folder: Path,
    skipped: list[Skipped],
    seen: set[str] | None = None,
    wanted: Callable[[str], bool] = has_audio_name,
) -> Iterator[str]:
    """The files under a folder whose names are `wanted`, sorted; hidden files and folders are left out.

    Links are followed, each real folder counts once, so that loops end; `seen` holds those of walks before.
    Folders that cannot be read, and pipes and other irregular files, are added to `skipped`.
    """
    return (entry.path.removeprefix("./") for _, entry in entries(folder, skipped, seen, wanted))


def entries(
    folder: Path,
    skipped: list[Skipped],
    seen: set[str] | None = None,
    wanted: Callable[[str], bool] = has_audio_name,
) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """As `walk`: the real path of the folder that an entry is in, and the entry."""
    seen = set() if seen is None else seen
    levels = [_inside(os.fspath(folder), skipped, seen)]  # a folder's files stand where its name is sorted
    while levels:
        if (found := next(levels[-1], None)) is None:
            levels.pop()
        elif _is_folder(found[1]):
            levels.append(_inside(found[1].path, skipped, seen))
        elif wanted(found[1].name):
            if found[1].is_file():
                yield found
            else:
                skipped.append((found[1].path, irregular(found[1].path) or "no such file"))


def irregular(path: str | os.PathLike[str]) -> str | None:
    """Why a path is not read where it is neither a regular file nor a folder; None otherwise."""
    try:
        kind = KINDS.get(stat.S_IFMT(Path(path).stat().st_mode))
    except (OSError, ValueError):
        return None  # opening it will say why it fails
    return kind and f"is {kind}, not a file"


def _inside(folder: str, skipped: list[Skipped], seen: set[str]) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """What is in a folder, sorted by name; nothing if it was `seen` before."""
    if (real := os.path.realpath(folder)) in seen:
        return iter(())
    seen.add(real)
    try:
        with os.scandir(folder) as inside:
            shown = sorted((e for e in inside if not e.name.startswith(".")), key=lambda entry: entry.name)
    except OSError as error:
        skipped.append((folder, f"folder cannot be read: {error.strerror}"))
        return iter(())
    return ((real, entry) for entry in shown)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return True  # to be listed as a folder that cannot be read
