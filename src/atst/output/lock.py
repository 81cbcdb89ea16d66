"""A folder that one process writes: a lock in it says who, so that a second process is refused."""

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
STALE_SECONDS = 300.0  # untouched for so long, the lock of another machine's process counts for nothing


@contextmanager
def held(folder: Path, *, patient: bool = False) -> Iterator[None]:
    """Hold the folder's lock, and make the folder for it.

    Raises `UsageError` when `folder` is no folder, `TrainingError` naming the process that holds it. The
    lock of a process that is gone is taken: on this machine at once, from another machine when it was not
    touched for five minutes, which `patient` waits for as long as nobody touches it.
    """
    lock = folder / NAME
    made = _make(folder)
    mine = _claim(lock, patient)
    ended = threading.Event()
    threading.Thread(target=_keep_touching, args=(lock, mine, ended), daemon=True).start()
    try:
        yield
    finally:
        ended.set()
        if _owner(lock) == mine:
            lock.unlink(missing_ok=True)
        if made:
            with suppress(OSError):  # something is in it
                folder.rmdir()


def check(folder: Path) -> None:
    """Raises `TrainingError` if another process took the folder over while this one was suspended."""
    owner = _owner(folder / NAME)
    if owner is not None and owner != _self():
        raise TrainingError(f"{folder}: taken over by {_words(owner)} while this process was suspended.")


def is_new(folder: Path) -> bool:
    """Whether nothing is there, or a folder with nothing but a lock in it."""
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
            with lock.open("x") as file:
                file.write(json.dumps(mine))
            return mine
        except FileExistsError:
            _make_way(lock, patient)


def _make_way(lock: Path, patient: bool) -> None:
    """Remove a stale lock. Raises `TrainingError` for one that is held."""
    owner, idle = _owner(lock), _idle(lock)
    if owner is None:  # released this moment
        return
    why = "which is gone"
    if owner["host"] != _host():
        if patient and idle < STALE_SECONDS:
            idle = _wait(lock, owner, idle)
            if _owner(lock) != owner:
                return
        why = f"untouched for {idle:.0f} s"
    if _running(owner) if owner["host"] == _host() else idle < STALE_SECONDS:
        raise TrainingError(
            f"{lock.parent}: in use by {_words(owner)}, whose lock was touched {idle:.0f} s ago. "
            "Stop it or let it end, or take another folder."
        )
    print(f"{lock.parent}: taking over from {_words(owner)}, {why}", file=sys.stderr, flush=True)
    aside = lock.with_name(f"{NAME}.{os.getpid()}.old")
    with suppress(FileNotFoundError):  # another process was faster
        lock.replace(aside)
        if _owner(aside) == owner:
            aside.unlink()
        else:  # a new one, taken between the look and the renaming
            aside.replace(lock)


def _wait(lock: Path, owner: dict[str, Any], idle: float) -> float:
    """Seconds that the lock has been untouched: enough of them, or few because it has been touched."""
    text = f"held by {_words(owner)}, untouched for {idle:.0f} s: waiting, in case it is gone"
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
    """This machine's name; in a container with process numbers of its own, those too."""
    with suppress(OSError):
        return f"{socket.gethostname()} {Path('/proc/self/ns/pid').readlink()}"
    return socket.gethostname()


def _running(owner: dict[str, Any]) -> bool:
    """Whether the process is there and not a later one with its number."""
    try:
        os.kill(int(owner["process"]), 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        pass
    return _start_of(int(owner["process"])) == owner["started"]


def _start_of(process: int) -> str:
    """When a process started, where the system says so; the same text at every look."""
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


def _words(owner: dict[str, Any]) -> str:
    return f"process {owner['process']} on {str(owner['host']).split()[0]}"
