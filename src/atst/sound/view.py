"""The bytes of files: found once, and given to decoders in part, some of them replaced."""

import io
import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def mapped(path: str) -> Iterator[mmap.mmap]:
    """All bytes of a file, read where they are looked at."""
    with Path(path).open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        yield data


def behind_id3(data: mmap.mmap, at: int) -> int:
    """The byte after all tags that begin at this one."""
    while data[at : at + 3] == b"ID3" and at + 10 <= len(data):
        at += 10 + sum((byte & 127) << 7 * (3 - n) for n, byte in enumerate(data[at + 6 : at + 10]))
    return at


class View(io.RawIOBase):
    """Bytes `begin` to `end` (None: its end) of a file; `patches` are bytes by their place in the view."""

    def __init__(
        self, path: str, begin: int = 0, end: int | None = None, patches: dict[int, bytes] | None = None
    ) -> None:
        self.file = io.FileIO(path)
        size = self.file.seek(0, os.SEEK_END)
        self.begin = begin
        self.length = max(0, (size if end is None else min(end, size)) - begin)
        self.patches = patches or {}
        self.at = 0

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes from where the view stands."""
        left = max(0, self.length - self.at)
        self.file.seek(self.begin + self.at)
        content = self.file.read(left if size < 0 else min(size, left))
        first, last = self.at, self.at + len(content)
        self.at = last
        if any(first < at + len(patch) and at < last for at, patch in self.patches.items()):
            changed = bytearray(content)
            for at, patch in self.patches.items():
                for index, value in enumerate(patch, at - first):
                    if 0 <= index < len(changed):
                        changed[index] = value
            return bytes(changed)
        return content

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, span: slice) -> bytes:
        self.seek(span.start)
        return self.read(max(0, span.stop - span.start))

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """As `read`, into a buffer."""
        content = self.read(len(buffer))
        buffer[: len(content)] = content
        return len(content)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """As of any file."""
        self.at = max(0, offset + {os.SEEK_SET: 0, os.SEEK_CUR: self.at, os.SEEK_END: self.length}[whence])
        return self.at

    def tell(self) -> int:
        """As of any file."""
        return self.at

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def close(self) -> None:
        """Close the file."""
        self.file.close()
        super().close()
