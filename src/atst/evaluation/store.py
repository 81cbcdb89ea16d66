"""Where features are kept on disk: added to while they are computed, and found by key."""

import atexit
import shutil
import sys
import tempfile
import uuid
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from atst.errors import AtstError
from atst.evaluation.lazy import Embeddings, File, LazyFeatures, width

IN_MEMORY = 2**30  # bytes; features of more than that stay on disk


class Store:
    """Feature vectors in a folder, found by key.

    Each writer has two files of its own, so several processes may add at once: NAME.WIDTH.f32 with vectors
    (n, WIDTH), little-endian, and NAME.WIDTH.txt with their keys, a line each. Keys follow vectors that are
    written already: what an interruption leaves at the end of either file is not counted. Where a folder
    cannot be written to (a read-only home, a full disk), new vectors go to a temporary one that ends with the
    process.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files: list[File] = []
        self.count = 0  # vectors in them
        self.found: dict[str, int] = {}  # place of each key, as `LazyFeatures` counts
        self.name = uuid.uuid4().hex  # of the files that are written
        self.elsewhere = False  # whether the folder could not be written to
        for listing in sorted(folder.glob("*.txt")):
            try:
                self._list(listing)
            except (OSError, EOFError, ValueError):
                continue  # what a damaged file held is computed again

    def __contains__(self, key: str) -> bool:
        return key in self.found

    def add(self, keys: list[str], vectors: NDArray[np.float32]) -> None:
        """Keep vectors (n, D) under as many keys; D is that of the store."""
        try:
            path = self._write(keys, vectors)
        except OSError as error:
            self._go_on_elsewhere(error)
            path = self._write(keys, vectors)
        count = self.files.pop().count if self.files and self.files[-1].path == path else 0
        self.files.append(File(path, count + len(keys)))
        self._found(keys)

    def features(self, keys: list[str]) -> Embeddings:
        """Those of n keys, all of them in the store: a tensor (n, D) if it is small, else left on disk."""
        features = LazyFeatures(list(self.files), np.array([self.found[key] for key in keys]))
        return features[:] if features.nbytes <= IN_MEMORY else features

    def _write(self, keys: list[str], vectors: NDArray[np.float32]) -> Path:
        """Append to this writer's files; which one has the vectors."""
        path = self.folder / f"{self.name}.{vectors.shape[1]}.f32"
        self.folder.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as stream:
            stream.write(vectors.astype("<f4").tobytes())
        with path.with_suffix(".txt").open("a") as stream:
            stream.write("".join(f"{key}\n" for key in keys))
        return path

    def _go_on_elsewhere(self, error: OSError) -> None:
        if self.elsewhere:
            raise AtstError(f"features cannot be kept in {self.folder}: {error.strerror}") from error
        reason = f"features cannot be kept in {self.folder} ({error.strerror})"
        advice = "they serve this call alone. ATST_CACHE names another folder for them."
        print(f"warning: {reason}; {advice}", file=sys.stderr, flush=True)
        self.folder, self.elsewhere = Path(tempfile.mkdtemp(prefix="atst-")), True
        atexit.register(shutil.rmtree, self.folder, ignore_errors=True)

    def _list(self, listing: Path) -> None:
        keys = listing.read_text(errors="replace").split("\n")[:-1]  # the last is empty, or torn
        path = listing.with_suffix(".f32")
        held = path.stat().st_size // (4 * width(path))
        if whole := keys[:held]:
            self.files.append(File(path, len(whole)))
            self._found(whole)

    def _found(self, keys: list[str]) -> None:
        self.found |= {key: self.count + row for row, key in enumerate(keys)}
        self.count += len(keys)
