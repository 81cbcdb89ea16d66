"""Mean and deviation of a library's features: one pass, kept beside the library."""

import zipfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from atst.library.embedding_file import EmbeddingFile
from atst.output.atomic import new_file

VERSION = 1  # of the file they are kept in: another one is not read


@dataclass(frozen=True)
class Statistics:
    """Of each feature (D,) over all rows."""

    mean: NDArray[np.float32]
    std: NDArray[np.float32]  # 1 for a feature that is the same in all rows


def statistics(library: Path, files: Sequence[EmbeddingFile], mark: str) -> Statistics:
    """Those kept beside the library if they bear its `mark`; else computed, and kept where that works."""
    path = (
        library / ".atst-statistics" if library.is_dir() else library.with_name(f".{library.name}.statistics")
    )
    width, mark = files[0].width, f"{VERSION} {mark}"
    with (
        suppress(OSError, ValueError, KeyError, zipfile.BadZipFile),
        np.load(path, allow_pickle=False) as kept,
    ):
        if str(kept["mark"]) == mark and kept["mean"].shape == kept["std"].shape == (width,):
            return Statistics(kept["mean"].astype(np.float32), kept["std"].astype(np.float32))
    found = _computed(files, width)
    with suppress(OSError), new_file(path) as temporary, temporary.open("wb") as stream:
        np.savez(stream, mark=np.array(mark), mean=found.mean, std=found.std)
    return found


def _computed(files: Sequence[EmbeddingFile], width: int) -> Statistics:
    """One pass over the row groups; the groups' sums of squares are joined as Chan et al. (1979) do."""
    rows, mean, squares = 0, np.zeros(width), np.zeros(width)
    for file in files:
        for group in range(file.groups):
            part = file.features(group).astype(np.float64)
            own = part.mean(0)
            away, total = own - mean, rows + len(part)
            squares += ((part - own) ** 2).sum(0) + away**2 * (rows * len(part) / total)
            mean += away * (len(part) / total)
            rows = total
    std = np.sqrt(squares / rows)
    alike = std <= 1e-7 * np.abs(mean)  # what rounding alone makes
    return Statistics(mean.astype(np.float32), np.where(alike | (std == 0), 1.0, std).astype(np.float32))
