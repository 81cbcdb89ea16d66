"""Bytes of files: local ones mapped into memory, others by ranges from any storage that `fsspec` knows."""

import functools
import time

import fsspec
import numpy as np
from numpy.typing import NDArray

from atst.errors import AudioError, CorpusError, UsageError

ATTEMPTS = 3
PAUSE = 1.0  # s before the second attempt; twice as long before each further one


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
    """A remote file. Raises `CorpusError`, `UsageError` for an address of no known kind."""
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


def _read(folder: str, name: str, *span: int) -> bytes:
    address = f"{folder.rstrip('/')}/{name}"
    for attempt in range(ATTEMPTS):
        try:
            files, path = fsspec.core.url_to_fs(address)  # it keeps the connections, one set a process
            return bytes(files.cat_file(path, *span))
        except (ImportError, ValueError) as error:
            raise UsageError(f"{folder}: {error}") from error
        except FileNotFoundError:
            raise AudioError(f"{address}: missing; copy it again or pack the corpus anew") from None
        except Exception as error:  # of whatever library serves such addresses
            if attempt + 1 == ATTEMPTS:
                text = " ".join(str(error).split()) or type(error).__name__
                raise AudioError(f"{address}: cannot be read ({text})") from error
            time.sleep(PAUSE * 2**attempt)
    raise AssertionError
