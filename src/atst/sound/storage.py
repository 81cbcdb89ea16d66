"""Bytes of files: local ones mapped into memory, others by ranges from any storage that `fsspec` knows."""

import functools
import time
from collections.abc import Callable
from typing import Any, TypeVar

import fsspec
import numpy as np
from numpy.typing import NDArray

from atst.errors import AudioError, CorpusError, UsageError

ATTEMPTS = 3
PAUSE = 1.0  # s before the second attempt; twice as long before each further one
SILENCE = 60.0  # s without a byte from the web after which an attempt has failed; a whole file may take hours

Result = TypeVar("Result")


def is_remote(folder: str) -> bool:
    """Whether it is an address such as `s3://bucket/corpus` and not a local path."""
    return "://" in folder


@functools.lru_cache(maxsize=256)  # each keeps a file open, and a system allows some hundred
def mapped(path: str, samples: int, version: int = 0) -> NDArray[np.int16]:
    """The samples of a local file, as it was in `version`. Raises `AudioError` if there are fewer."""
    try:
        values: NDArray[np.int16] = np.memmap(path, "<i2", "r", shape=(samples,))
    except (OSError, ValueError) as error:
        raise AudioError(f"{path}: cannot be read ({error})") from error
    return values


def read_whole(folder: str, name: str) -> bytes:
    """A remote file. Raises `CorpusError`, `UsageError` for an unknown kind of address."""
    try:
        return _read(folder, name)
    except AudioError as error:
        raise CorpusError(str(error)) from error


def read_range(folder: str, name: str, begin: int, end: int) -> bytes:
    """Bytes `begin` to `end` of a remote file. Raises `AudioError`."""
    content = _read(folder, name, begin, end)
    if len(content) != end - begin:
        raise AudioError(
            f"{folder}/{name}: {len(content):,} bytes where {end - begin:,} were asked for: "
            "it is cut short, or its server ignores ranges"
        )
    return content


def download(address: str, path: str, unwanted: Callable[[], bool]) -> None:
    """Copy a remote file to a local one, or give up when it has become `unwanted`. Raises `AudioError`."""

    def copy(files: Any, remote: str) -> None:
        files.get_file(remote, path, callback=_GiveUp(unwanted))

    try:
        _attempt(address, copy, unwanted)
    except FileNotFoundError:
        raise AudioError(f"{address}: no such file") from None
    except (ImportError, ValueError) as error:
        raise AudioError(f"{address}: {error}") from error


def _patience(address: str) -> dict[str, Any]:
    """Options of a file system that say how long to wait for it."""
    if not address.startswith(("http://", "https://")):
        return {}
    import aiohttp  # a second, for those who need it

    timeout = aiohttp.ClientTimeout(total=None, sock_connect=SILENCE, sock_read=SILENCE)
    return {"client_kwargs": {"timeout": timeout}}


class _GiveUp(fsspec.Callback):
    """Is told of each part of a file that has come."""

    def __init__(self, unwanted: Callable[[], bool]) -> None:
        super().__init__()
        self.unwanted = unwanted

    def relative_update(self, inc: int = 1) -> None:
        if self.unwanted():
            raise InterruptedError("no longer wanted")


def _read(folder: str, name: str, *span: int) -> bytes:
    address = f"{folder.rstrip('/')}/{name}"
    try:
        return _attempt(address, lambda files, path: bytes(files.cat_file(path, *span)))
    except (ImportError, ValueError) as error:
        raise UsageError(f"{folder}: {error}") from error
    except FileNotFoundError:
        raise AudioError(f"{address}: missing; copy it again or pack the corpus again") from None


def _attempt(
    address: str, work: Callable[[Any, str], Result], unwanted: Callable[[], bool] = lambda: False
) -> Result:
    """What `work` gives, which gets the file system and the path in it; tried again when that fails."""
    for attempt in range(ATTEMPTS):
        try:
            # it keeps the connections, one set a process
            files, path = fsspec.core.url_to_fs(address, **_patience(address))
            return work(files, path)
        except (ImportError, ValueError, FileNotFoundError):
            raise
        except Exception as error:  # of whatever library serves such addresses
            if attempt + 1 == ATTEMPTS or unwanted():
                text = " ".join(str(error).split()) or type(error).__name__
                raise AudioError(f"{address}: cannot be read ({text})") from error
            time.sleep(PAUSE * 2**attempt)
    raise AssertionError
