"""The HEAR 2021 API, by which HEAR's evaluation and others like it use a model.

https://hearbenchmark.com/hear-api.html. A scene embedding is the model's own read-out of a clip or, of an
encoder with a CLS token, CLS and mean token of all blocks; timestamp embeddings are those of `embed_frames`.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from atst.errors import UsageError
from atst.model.attention import has_cls
from atst.model.audio_model import AudioModel
from atst.model.frontend import SAMPLE_RATE
from atst.model.load import load

DEFAULT_MODEL = "atst-nano"  # what load_model() without a path loads


class HearModel(nn.Module):
    """A model with the attributes that the API asks for: a rate in Hz and two numbers of values."""

    def __init__(self, audio: AudioModel) -> None:
        super().__init__()
        self.audio = audio
        self.sample_rate = SAMPLE_RATE
        second = np.zeros(SAMPLE_RATE, np.float32)
        # All blocks, as in the paper's probe, but where encoder or folder have a read-out of their own.
        paper = has_cls(audio) and not audio.config.readout
        self.readout: dict[str, Any] = {"layers": audio.depth} if paper else {}
        self.scene_embedding_size = len(audio.embed(second, sample_rate=SAMPLE_RATE, **self.readout))
        self.timestamp_embedding_size = audio.embed_frames(second, sample_rate=SAMPLE_RATE)[1].shape[-1]


def load_model(model_file_path: str | Path = "") -> HearModel:
    """The model of any name that `atst.load` takes, on the CPU; without a name the one that comes with atst.

    Raises `ModelError` for what cannot be loaded, `UsageError` for a model without an embedding a frame.
    """
    name = str(model_file_path) or DEFAULT_MODEL
    model = load(name)
    if not isinstance(model, AudioModel):
        raise UsageError(f"{name}: HEAR's functions need an encoder in PyTorch, with embeddings of frames.")
    return HearModel(model)


def get_scene_embeddings(audio: Tensor, model: HearModel) -> Tensor:
    """A vector a sound: `(n_sounds, n_samples)` in [-1, 1] at 16 kHz to `(n_sounds, scene_embedding_size)`.

    float32, on the device of `audio`.
    """
    _check(audio)
    vectors = model.audio.embed(list(audio), sample_rate=SAMPLE_RATE, **model.readout)
    return torch.from_numpy(vectors).to(audio.device)


def get_timestamp_embeddings(audio: Tensor, model: HearModel) -> tuple[Tensor, Tensor]:
    """Vectors at regular intervals: `(n_sounds, n_samples)` in [-1, 1] at 16 kHz.

    Returns float32 embeddings `(n_sounds, n_timestamps, timestamp_embedding_size)` and the centres that
    they stand for in milliseconds, `(n_sounds, n_timestamps)`, on the device of `audio`.
    """
    _check(audio)
    pairs = [model.audio.embed_frames(sound, sample_rate=SAMPLE_RATE) for sound in audio]
    times, frames = (torch.from_numpy(np.stack(parts)) for parts in zip(*pairs, strict=True))
    return frames.to(audio.device), (times * 1000).float().to(audio.device)


def _check(audio: Tensor) -> None:
    if audio.ndim != 2 or 0 in audio.shape:
        raise UsageError(f"audio must be (n_sounds, n_samples), neither of them 0, not {tuple(audio.shape)}.")
