"""Copies of a model on several devices, which share the clips of each call."""

import copy
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from atst.errors import UsageError
from atst.model.audio_model import AudioModel
from atst.model.embedder import Embedder


class Replicas:
    """Embeds lists of clips as `AudioModel.embed` does; `models` are alike, each on a device of its own."""

    def __init__(self, models: Sequence[AudioModel]) -> None:
        self.models = models
        self.threads = ThreadPoolExecutor(len(models))

    @classmethod
    def of(cls, model: Embedder, count: int) -> "Replicas":
        """A model on the first `count` GPUs. Raises `UsageError` where there are fewer."""
        if not isinstance(model, AudioModel) or model.frontend.window.device.type != "cuda":
            raise UsageError(
                f"--devices {count}: only GPUs share the work; on a CPU one process uses all cores."
            )
        there = torch.cuda.device_count()
        if count > there:
            raise UsageError(f"--devices {count}: this machine has {there}.")
        return cls([copy.deepcopy(model).to(f"cuda:{number}") for number in range(count)])

    def embed(self, clips: Sequence[Any], *, batch_size: int, **options: Any) -> NDArray[np.float32]:
        """`(B, D)` of a list of clips, of which each model gets consecutive ones; options as of `embed`."""
        share = -(-len(clips) // len(self.models))
        shares = [clips[at : at + share] for at in range(0, len(clips), share)]

        def embedded(model: AudioModel, part: Sequence[Any]) -> NDArray[np.float32]:
            return model.embed(part, batch_size=batch_size, **options)

        return np.concatenate(list(self.threads.map(embedded, self.models, shares)))
