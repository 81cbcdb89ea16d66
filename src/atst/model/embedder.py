"""What every model can do, whether it is a trained encoder or a feature baseline."""

from pathlib import Path
from typing import Any, Protocol, TypeGuard

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


class FrameEmbedder(Embedder, Protocol):
    """An encoder: it has a vector for each token besides that of the clip."""

    @property
    def token_seconds(self) -> float:
        """From one token's centre to that of the next."""

    def options(
        self,
        layers: int | None = None,
        pooling: str | None = None,
        levels: str | None = None,
        frames: bool = False,
    ) -> dict[str, Any]:
        """Of `embed`, or of `embed_frames` and pooling: what is asked for, else the model's own."""

    def embed_frames(
        self,
        sound: Any,
        *,
        sample_rate: int | None = None,
        layers: int | None = None,
        levels: str | None = None,
    ) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
        """Centres of the tokens of one clip in seconds (P,), and the tokens (P, D)."""


def has_frames(model: Embedder) -> TypeGuard[FrameEmbedder]:
    """Whether it is an encoder."""
    return hasattr(model, "embed_frames")
