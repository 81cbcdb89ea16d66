"""What every model can do, whether it is a trained encoder or a feature baseline."""

from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


class Embedder(Protocol):
    """Turns sound into feature vectors; `load` gives one for every name that `--model` takes."""

    name: str  # where it came from, for reports

    @property
    def depth(self) -> int:
        """The number of blocks, of which `embed` can be asked for the last ones."""

    @property
    def fingerprint(self) -> str:
        """Equal for models that embed alike."""

    def embed(
        self,
        sound: Any,
        *,
        sample_rate: int | None = None,
        layers: int | None = None,
        pooling: str | None = None,
        batch_size: int = 1,
    ) -> NDArray[np.float32]:
        """Features (D,) of a path or an (N,) array, (B, D) of a list or a (B, N) array."""

    def save(self, folder: str | Path) -> None:
        """Write the files, if any, that `load` needs beside the name."""
