"""A lock in a folder names the one process that writes there, so that a second one is refused."""

import json
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from atst.errors import TrainingError, UsageError

NAME = ".lock"
TOUCH_SECONDS = 30.0
POLL_SECONDS = 1.0
STALE_SECONDS = 300.0  # after this long untouched, a lock held by another machine is stale


@contextmanager
def held(folder: Path, *, patient: bool = False) -> Iterator[None]:
    """Hold the folder's lock, and create the folder if necessary.

    Raises `UsageError` if `folder` is not a folder, `TrainingError` naming the process that holds it. The
    lock of a process that has ended is taken over: at once on this machine, and from another machine after
    five minutes without a touch, for which `patient` waits.
    """
    lock = folder / NAME
    made = _make(folder)
    mine, ended = None, threading.Event()
    try:
        mine = _claim(lock, patient)
        threading.Thread(target=_keep_touching, args=(lock, mine, ended), daemon=True).start()
        yield
    finally:
        ended.set()
        if mine is not None and _owner(lock) == mine:
            lock.unlink(missing_ok=True)
        if made:
            with suppress(OSError):  # something is in it
                folder.rmdir()


def check(folder: Path) -> None:
    """Raises `TrainingError` if another process took the folder over while this one was suspended."""
    owner = _owner(folder / NAME)
    if owner is not None and owner != _self():
        raise TrainingError(
            f"{folder}: taken over by {_description(owner)} while this process was suspended."
        )


def is_new(folder: Path) -> bool:
    """Whether the folder does not exist, or holds nothing but a lock."""
    return not folder.exists() or (folder.is_dir() and all(path.name == NAME for path in folder.iterdir()))


def _make(folder: Path) -> bool:
    if folder.is_dir():
        return False
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        raise UsageError(f"{folder}: not a folder.") from None
    return True


def _claim(lock: Path, patient: bool) -> dict[str, Any]:
    mine = _self()
    while True:
        try:
            file = lock.open("x")
        except FileExistsError:
            _make_way(lock, patient)
            continue
        try:
            with file:
                file.write(json.dumps(mine))
        except BaseException:  # a full disk; whose an empty lock is, nobody could tell
            lock.unlink()
            raise
        return mine


def _make_way(lock: Path, patient: bool) -> None:
    """Remove a stale lock. Raises `TrainingError` for one that is held."""
    owner, idle = _owner(lock), _idle(lock)
    if owner is None:  # released this moment
        return
    why = "which has ended"
    if owner["host"] != _host():
        if patient and idle < STALE_SECONDS:
            idle = _wait(lock, owner, idle)
            if _owner(lock) != owner:
                return
        why = f"untouched for {idle:.0f} s"
    if _running(owner) if owner["host"] == _host() else idle < STALE_SECONDS:
        raise TrainingError(
            f"{lock.parent}: in use by {_description(owner)}, whose lock was touched {idle:.0f} s ago. "
            "Stop it or wait for its end, or choose another folder."
        )
    print(f"{lock.parent}: taking over from {_description(owner)}, {why}", file=sys.stderr, flush=True)
    aside = lock.with_name(f"{NAME}.{os.getpid()}.old")
    with suppress(FileNotFoundError):  # another process was faster
        lock.replace(aside)
        if _owner(aside) == owner:
            aside.unlink()
        else:  # a new one, taken between the look and the renaming
            aside.replace(lock)


def _wait(lock: Path, owner: dict[str, Any], idle: float) -> float:
    """Seconds for which the lock has been untouched: stale, or few because it has just been touched."""
    text = (
        f"held by {_description(owner)}, untouched for {idle:.0f} s: waiting, in case that process has ended"
    )
    print(f"{lock.parent}: {text}", file=sys.stderr, flush=True)
    before = idle
    while before <= idle < STALE_SECONDS and _owner(lock) == owner:
        time.sleep(POLL_SECONDS)
        before, idle = idle, _idle(lock)
    return idle


def _keep_touching(lock: Path, mine: dict[str, Any], ended: threading.Event) -> None:
    while not ended.wait(TOUCH_SECONDS):
        with suppress(OSError):
            if _owner(lock) == mine:
                os.utime(lock)


def _self() -> dict[str, Any]:
    return {"host": _host(), "process": os.getpid(), "started": _start_of(os.getpid())}


def _host() -> str:
    """This machine's name, with the process namespace, since containers have their own process numbers."""
    with suppress(OSError):
        return f"{socket.gethostname()} {Path('/proc/self/ns/pid').readlink()}"
    return socket.gethostname()


def _running(owner: dict[str, Any]) -> bool:
    """Whether the process is running, and is not a later one with the same number."""
    try:
        os.kill(int(owner["process"]), 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        pass
    return _start_of(int(owner["process"])) == owner["started"]


def _start_of(process: int) -> str:
    """When a process started, as the system writes it, or an empty text."""
    with suppress(OSError):
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[19]
    return ""


def _owner(lock: Path) -> dict[str, Any] | None:
    try:
        owner = json.loads(lock.read_text())
        return {key: owner[key] for key in ("host", "process", "started")}
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):
        return {"host": "unknown", "process": -1, "started": ""}


def _idle(lock: Path) -> float:
    """Seconds since a lock was touched, by the clock of its file system."""
    now = lock.with_name(f"{NAME}.{os.getpid()}.tmp")
    try:
        now.touch()
        return max(0.0, now.stat().st_mtime - lock.stat().st_mtime)
    except FileNotFoundError:
        return 0.0
    finally:
        now.unlink(missing_ok=True)


def _description(owner: dict[str, Any]) -> str:
    return f"process {owner['process']} on {str(owner['host']).split()[0]}"
