"""Files and folders that are written atomically, and are on disk before they get their name."""

import csv
import ctypes
import os
import re
import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
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


def write_text(path: Path, text: str) -> None:
    """Write a file in UTF-8 whole or not at all; bytes of names that are not text become `?`."""
    with new_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="replace")


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a CSV file whole or not at all."""
    with new_file(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


@contextmanager
def new_folder(path: str | Path) -> Iterator[Path]:
    """A temporary folder beside `path`; replaces `path` when the block succeeds, else removed.

    At every moment `path` is a complete folder, the old one or the new one, whatever interrupts. On file
    systems that cannot exchange two names (some network ones) it is missing for an instant; after a kill in
    that instant `remove_leftovers` restores the old one.
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
        shutil.rmtree(temporary, ignore_errors=True)  # unfinished, or the one that was replaced


def remove_leftovers(folder: str | Path) -> None:
    """Remove the temporary files and folders that killed processes left anywhere below `folder`.

    Only for a folder that no other process writes to. A folder that a killed process had moved aside gets
    its name back.
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
    """Wait until a file, or the entries of a folder, are on disk; does nothing for a missing path."""
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
    """Rename the folder `new` to `path`; a folder that was there is then called `new`, or is removed."""
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
