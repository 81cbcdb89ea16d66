"""Features without learning, to compare encoders with."""

import hashlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from atst.errors import UsageError
from atst.model.descriptors import descriptors, functionals
from atst.model.frontend import MIN_SAMPLES, FrontEnd
from atst.sound import isolated
from atst.sound.audio import SAMPLE_RATE
from atst.sound.clips import as_clips, waveform


class _Baseline:
    """What the baselines share: the forms of sound that `embed` takes."""

    name: str
    depth = 1  # there are no blocks; `layers` and `pooling` mean nothing here and are ignored
    version = 1  # counted up when the features change

    @property
    def fingerprint(self) -> str:
        """Stands for the features in caches."""
        return hashlib.sha256(f"{self.name} {self.version}".encode()).hexdigest()[:16]

    def embed(
        self,
        sound: Any,
        *,
        sample_rate: int | None = None,
        layers: int | None = None,
        pooling: str | None = None,
        batch_size: int = 1,
    ) -> NDArray[np.float32]:
        """Features (D,) of a path or an (N,) array, (B, D) of a list or a (B, N) array.

        `sample_rate` is required for arrays. Raises `AudioError` for what cannot be read.
        """
        single, clips = as_clips(sound)
        vectors = [self._vector(_waveform(clip, sample_rate)) for clip in clips]
        return vectors[0] if single else np.stack(vectors)

    def save(self, folder: str | Path) -> None:
        """Nothing: the name is enough to load a baseline."""

    def _vector(self, waveform: NDArray[np.float32]) -> NDArray[np.float32]:
        """(D,) of a waveform (N,) at 16 kHz."""
        raise NotImplementedError


class LogMelBaseline(_Baseline):
    """Mean and standard deviation over time of each log-mel band: 128 values."""

    name = "logmel"

    def __init__(self) -> None:
        self.frontend = FrontEnd()

    @torch.no_grad()
    def _vector(self, waveform: NDArray[np.float32]) -> NDArray[np.float32]:
        logmel = self.frontend(torch.from_numpy(waveform)[None])[0]  # (64, T)
        return torch.cat([logmel.mean(1), logmel.std(1, correction=0)]).numpy()


class FunctionalsBaseline(_Baseline):
    """Functionals of the log-mel spectrogram (1304 values), descriptors of the waveform (462), or both."""

    def __init__(self, name: str = "functionals") -> None:
        self.name = name
        self.frontend = FrontEnd()

    @torch.no_grad()
    def _vector(self, waveform: NDArray[np.float32]) -> NDArray[np.float32]:
        samples = torch.from_numpy(waveform)
        samples = torch.nn.functional.pad(samples, (0, max(0, MIN_SAMPLES - len(samples))))
        parts = {
            "functionals": lambda: functionals(self.frontend(samples[None])[0]),
            "descriptors": lambda: descriptors(samples),
        }
        return torch.cat([parts[part]() for part in self.name.split("+")]).numpy()


class OpenSmileBaseline(_Baseline):
    """The 6373 ComParE 2016 functionals of openSMILE (`pip install "atst-audio[baselines]"`)."""

    name = "opensmile"

    def __init__(self) -> None:
        try:
            import opensmile
        except ImportError as error:
            raise UsageError(
                'the model opensmile needs another package: pip install "atst-audio[baselines]".'
            ) from error
        self.smile = opensmile.Smile(
            feature_set=opensmile.FeatureSet.ComParE_2016, feature_level=opensmile.FeatureLevel.Functionals
        )

    def _vector(self, waveform: NDArray[np.float32]) -> NDArray[np.float32]:
        # Clips too short for a functional give NaN there: no information, hence 0.
        values = self.smile.process_signal(waveform, SAMPLE_RATE).to_numpy(dtype=np.float32)[0]
        return np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)


BASELINES: dict[str, Callable[[], _Baseline]] = {
    "logmel": LogMelBaseline,
    **{
        name: partial(FunctionalsBaseline, name)
        for name in ("functionals", "descriptors", "functionals+descriptors")
    },
    "opensmile": OpenSmileBaseline,
}


def _waveform(clip: Any, sample_rate: int | None) -> NDArray[np.float32]:
    return isolated.read(clip) if isinstance(clip, str | Path) else waveform(clip, sample_rate)
