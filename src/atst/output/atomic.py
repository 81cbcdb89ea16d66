"""Files and folders that appear whole or not at all, on disk before they bear their name."""

import ctypes
import os
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

AT_FDCWD, EXCHANGE = -100, 2  # Linux: paths relative to the working directory; RENAME_EXCHANGE
SWAP = 2  # macOS: RENAME_SWAP
LEFTOVER = re.compile(r"\.(.+)\.\d+\.(tmp|old)")  # .NAME.PROCESS.tmp


@contextmanager
def new_file(path: str | Path) -> Iterator[Path]:
    """A temporary path beside `path`; renamed to `path` when the block succeeds, else removed."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        sync(temporary)
        temporary.replace(path)
        sync(path.parent)
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()


@contextmanager
def new_folder(path: str | Path) -> Iterator[Path]:
    """A temporary folder beside `path`; takes the place of `path` when the block succeeds, else removed.

    At every moment a complete folder bears the name, the old one or the new one, whatever interrupts.
    File systems that cannot exchange two names (some network ones) lack it for an instant; after a kill in
    that instant `remove_leftovers` brings the old one back.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        yield temporary
        for part in [*temporary.rglob("*"), temporary]:
            sync(part)
        _put(temporary, path)
        sync(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)  # what was not finished, or what was replaced


def remove_leftovers(folder: str | Path) -> None:
    """Remove the temporary files and folders that killed processes left anywhere below `folder`.

    Only for a folder that no other process writes to. A folder that was moved aside when the process was
    killed gets its name back.
    """
    for path in sorted(Path(folder).rglob(".*")):
        match = LEFTOVER.fullmatch(path.name)
        if match is None or not path.exists():
            continue
        if match[2] == "old" and not path.with_name(match[1]).exists():
            path.replace(path.with_name(match[1]))
        elif path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on disk; nothing for a path that is not there."""
    if not path.exists():
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError:
        if not path.is_dir():  # some file systems refuse it for folders
            raise
    finally:
        os.close(descriptor)


def _put(new: Path, path: Path) -> None:
    """Give the folder `new` the name `path`; what had it is then called `new`, or is gone."""
    if not path.exists():
        new.replace(path)
        return
    if _exchange(new, path):
        return
    old = path.with_name(f".{path.name}.{os.getpid()}.old")
    try:
        path.replace(old)
        new.replace(path)
    except BaseException:  # Ctrl-C too
        if not path.exists():
            old.replace(path)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two names in one step; false where the system or the file system cannot."""
    names = os.fsencode(one), os.fsencode(other)
    try:
        system = ctypes.CDLL(None)
        if sys.platform == "darwin":
            return bool(system.renamex_np(*names, SWAP) == 0)
        return bool(system.renameat2(AT_FDCWD, names[0], AT_FDCWD, names[1], EXCHANGE) == 0)
    except (OSError, AttributeError, TypeError):  # no such function
        return False
