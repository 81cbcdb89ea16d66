"""What users hand over to be embedded becomes clips, and clips become windows of at most a minute."""

import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

from atst.errors import AudioError, UsageError
from atst.sound import audio, isolated
from atst.sound.windows import WINDOW_SECONDS, Waveform, split, without_tail

if TYPE_CHECKING:
    from torch import Tensor

MOST_CHANNELS = 8  # an array with so few columns is taken for (N, channels), which `embed` does not take
SHORTEST_CLIP = 513  # samples: with fewer rows it may be a batch of very short clips


def as_clips(sound: Any) -> tuple[bool, list[Any]]:
    """Whether `sound` is a single clip, and the clips: paths, arrays, or cells of a column of audio.

    Raises `UsageError` for anything else, for an empty list, and for (N, channels) taken for (B, N).
    """
    if isinstance(sound, str | Path) or is_cell(sound):
        return True, [sound]
    if _is_tensor(sound):
        sound = _numpy(sound)
    if isinstance(sound, np.ndarray):
        if sound.ndim not in (1, 2):
            raise UsageError(f"an array of audio must be (N,) or (B, N), not {sound.shape}.")
        if sound.ndim == 2:
            _check_not_channels(*sound.shape)
        return sound.ndim == 1, [sound] if sound.ndim == 1 else list(sound)
    clips = list(sound) if isinstance(sound, Iterable) and not isinstance(sound, bytes) else [0]
    if any(isinstance(clip, int | float | complex | np.number) for clip in clips):
        raise UsageError(
            f"cannot embed a {type(sound).__name__} as it is: give a path, an array, a tensor or a list of "
            "them."
        )
    if not clips:
        raise UsageError("cannot embed an empty list: give at least one path or array.")
    return False, clips


def waveform(clip: Any, sample_rate: int | None) -> Waveform:
    """An array or tensor (N,) of `sample_rate` Hz, or a cell with its own rate, as float32 at 16 kHz.

    Raises `UsageError` without a rate or for another shape, `AudioError` for invalid samples.
    """
    if is_cell(clip):
        return cell_waveform(clip)
    if sample_rate is None:
        raise UsageError(
            "sample_rate is required for arrays, for example embed(waveform, sample_rate=16000)."
        )
    samples = _numpy(clip) if _is_tensor(clip) else np.asarray(clip)
    if samples.ndim != 1:
        mix = (
            " For its channels as clips give list(x.T), for their mix x.mean(1)." if samples.ndim == 2 else ""
        )
        raise UsageError(f"each clip of a list must be (N,), not {samples.shape}.{mix}")
    if samples.size == 0:
        raise AudioError("an array of audio has no samples.")
    return audio.to_mono_16k(samples, sample_rate)


def is_cell(sound: Any) -> bool:
    """Whether it is a cell of a Hugging Face audio column: a dictionary, or a decoder."""
    return isinstance(sound, Mapping) or hasattr(sound, "get_all_samples")


def cell_waveform(cell: Any) -> Waveform:
    """The sound in a cell, float32 (N,) at 16 kHz: samples with their rate, encoded bytes, or a path.

    Raises `AudioError` for what cannot be read.
    """
    if hasattr(cell, "get_all_samples"):
        decoded = cell.get_all_samples()
        return audio.to_mono_16k(_numpy(decoded.data).T, decoded.sample_rate)  # (channels, N)
    if cell.get("array") is not None:
        samples = np.asarray(cell["array"])
        # Channels are the first axis in this library, the second in others; sound is longer than wide.
        samples = samples.T if samples.ndim == 2 and len(samples) < samples.shape[1] else samples
        return audio.to_mono_16k(samples, cell.get("sampling_rate"))
    if cell.get("bytes") is not None:
        with tempfile.NamedTemporaryFile(suffix=Path(cell.get("path") or "").suffix) as file:
            file.write(cell["bytes"])
            file.flush()
            return isolated.read(file.name)
    if cell.get("path") is None:
        keys = ", ".join(map(str, cell)) or "nothing"
        raise AudioError(f"a dictionary of audio has 'array' and 'sampling_rate', not {keys}")
    return isolated.read(cell["path"])


def _check_not_channels(clips: int, samples: int) -> None:
    if clips == 0:
        raise UsageError("cannot embed an array of no clips.")
    if samples <= MOST_CHANNELS and clips >= SHORTEST_CLIP:
        raise UsageError(
            f"an array of shape ({clips}, {samples}) would be {clips} clips of {samples} samples; if its "
            "columns are channels, give x.T for each channel as a clip, or x.mean(1) for their mix."
        )


def _is_tensor(sound: Any) -> "TypeGuard[Tensor]":
    torch = sys.modules.get("torch")  # a caller with a tensor has imported it; nothing here needs it
    return torch is not None and isinstance(sound, torch.Tensor)


def _numpy(samples: "Tensor") -> NDArray[Any]:
    samples = samples.detach().cpu()
    return (samples.float() if samples.is_floating_point() else samples).numpy()


def windows(clip: Any, sample_rate: int | None) -> Iterator[Waveform]:
    """Consecutive waveforms of at most 60 s at 16 kHz of one clip, read as they are needed."""
    if isinstance(clip, str | Path):
        yield from without_tail(isolated.stream(clip, WINDOW_SECONDS))
    else:
        yield from without_tail(split(waveform(clip, sample_rate)))
