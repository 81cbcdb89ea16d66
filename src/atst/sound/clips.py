"""What users hand over to be embedded becomes clips, and clips become windows of at most a minute."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from atst.errors import AudioError, UsageError
from atst.model.frontend import HOP, SAMPLE_RATE
from atst.sound import audio

WINDOW_SECONDS = 60.0

Waveform = NDArray[np.float32]


def as_clips(sound: Any) -> tuple[bool, list[Any]]:
    """Whether `sound` is a single clip, and the clips: paths or 1-D arrays."""
    if isinstance(sound, str | Path):
        return True, [sound]
    if isinstance(sound, Tensor):
        sound = sound.detach().cpu().numpy()
    if isinstance(sound, np.ndarray):
        if sound.ndim not in (1, 2):
            raise UsageError(f"an array of audio must be (N,) or (B, N), not {sound.shape}.")
        return sound.ndim == 1, [sound] if sound.ndim == 1 else list(sound)
    if isinstance(sound, Iterable):
        return False, list(sound)
    raise UsageError(
        f"cannot embed a {type(sound).__name__}: give a path, an array, a tensor or a list of them."
    )


def windows(clip: Any, sample_rate: int | None) -> Iterator[Waveform]:
    """Consecutive waveforms of at most 60 s at 16 kHz of one clip, read as they are needed."""
    if isinstance(clip, str | Path):
        seconds = audio.info(clip).seconds
        start = 0.0
        yield audio.read(clip, 0.0, WINDOW_SECONDS if seconds > WINDOW_SECONDS else None)
        while (start := start + WINDOW_SECONDS) < seconds - HOP / SAMPLE_RATE:
            yield audio.read(clip, start, WINDOW_SECONDS)
        return
    if sample_rate is None:
        raise UsageError(
            "sample_rate is required for arrays, for example embed(waveform, sample_rate=16000)."
        )
    waveform = clip.detach().cpu().numpy() if isinstance(clip, Tensor) else np.asarray(clip)
    if waveform.ndim != 1:
        raise UsageError(f"each clip of a list must be (N,), not {waveform.shape}.")
    if waveform.size == 0:
        raise AudioError("an array of audio has no samples.")
    if not np.isfinite(waveform).all():
        raise AudioError("an array of audio holds non-finite samples.")
    waveform = audio.to_mono_16k(waveform, sample_rate)
    step = int(WINDOW_SECONDS * SAMPLE_RATE)
    for at in range(0, len(waveform), step):
        yield np.ascontiguousarray(waveform[at : at + step], dtype=np.float32)
