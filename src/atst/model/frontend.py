"""Waveforms become normalised log-mel spectrograms, equal to the paper's front end, on any device.

Every number is fixed by the method (`docs/fidelity.md`); changing one makes another model.
"""

import math
from collections.abc import Sequence
from itertools import groupby

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from atst.model.matmul import fast_products
from atst.sound.audio import SAMPLE_RATE

N_FFT = 1024  # also the window length
HOP = 160
FRAMES_PER_SECOND = SAMPLE_RATE // HOP
N_MELS = 64
GROUP = 16  # mel bands that are computed together
MEL_LOW_HZ, MEL_HIGH_HZ = 60.0, 7800.0
POWER_FLOOR = 1e-10
DYNAMIC_RANGE_DB = 80.0
NORM_LOW_DB, NORM_HIGH_DB = -79.6482, 50.6842
BATCH_SAMPLES = 1 << 17  # of waveforms that go together: their spectra fit the cache, and the heap
BATCH_FRAMES = 1024  # of a waveform whose spectrum is in memory at a time: more is no faster
MIN_SAMPLES = N_FFT // 2 + 1  # reflect padding needs more samples than it adds on a side


def n_frames(samples: int) -> int:
    """Frames of the log-mel of a waveform of `samples` samples (at least `MIN_SAMPLES` are assumed)."""
    return max(samples, MIN_SAMPLES) // HOP + 1


class FrontEnd(nn.Module):
    """Waveforms `(B, N)` at 16 kHz to log-mel `(B, 64, T)`, `T = N // 160 + 1`, about -1.31 to 1.

    The 80 dB floor is taken under each clip's own maximum, so a clip's log-mel does not depend on
    what else is in the batch. Computed in float32 also under autocast. Fewer than 513 samples are
    zero-padded to 513.
    """

    window: Tensor
    filters: Tensor  # (1026, 64): each bin twice, for the squares of its real and its imaginary part

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("window", torch.hann_window(N_FFT, periodic=True), persistent=False)
        self.register_buffer("filters", mel_filterbank().repeat_interleave(2, 0), persistent=False)
        self.groups = [_rows(self.filters, first) for first in range(0, N_MELS, GROUP)]

    def forward(self, waveforms: Tensor) -> Tensor:
        with torch.autocast(waveforms.device.type, enabled=False), fast_products(waveforms.device):
            return normalise(to_decibel(self.mel_power(waveforms.float())))

    def each(self, waveforms: Sequence[NDArray[np.float32]]) -> list[Tensor]:
        """The log-mel `(64, T)` of each waveform `(N,)`; neighbours of one length together."""
        logmels: list[Tensor] = []
        for length, group in groupby(waveforms, key=len):
            alike = list(group)
            most = max(1, BATCH_SAMPLES // length)
            for at in range(0, len(alike), most):
                batch = torch.from_numpy(np.stack(alike[at : at + most]))
                logmels += self(batch.to(self.window.device)).unbind()
        return logmels

    def mel_power(self, waveforms: Tensor) -> Tensor:
        """Mel power spectrogram `(B, 64, T)`, before the logarithm."""
        if waveforms.shape[-1] < MIN_SAMPLES:
            waveforms = nn.functional.pad(waveforms, (0, MIN_SAMPLES - waveforms.shape[-1]))
        frames = waveforms.shape[-1] // HOP + 1
        first, last = waveforms[:, 1 : N_FFT // 2 + 1], waveforms[:, -N_FFT // 2 - 1 : -1]
        padded = torch.cat([first.flip(1), waveforms, last.flip(1)], dim=1)  # reflected
        parts = []
        for start in range(0, frames, BATCH_FRAMES):
            part = padded[:, start * HOP : (min(start + BATCH_FRAMES, frames) - 1) * HOP + N_FFT]
            spectrum = torch.stft(part, N_FFT, HOP, window=self.window, center=False, return_complex=True)
            squares = torch.view_as_real(spectrum.transpose(1, 2)).square().flatten(2)  # (B, T, 1026)
            groups = [squares[:, :, rows] @ self.filters[rows, bands] for rows, bands in self.groups]
            parts.append(torch.cat(groups, dim=2))
        return torch.cat(parts, dim=1).transpose(1, 2)  # (B, 64, T)


def _rows(filters: Tensor, first: int) -> tuple[slice, slice]:
    """Where the filters of a group of bands are not zero, and the bands: so a quarter of the work is left."""
    bands = slice(first, first + GROUP)
    used = filters[:, bands].sum(1).nonzero()[:, 0]
    return slice(int(used[0]), int(used[-1]) + 1), bands


def to_decibel(power: Tensor) -> Tensor:
    """10 log10 of mel power `(B, 64, T)`, floored 80 dB under each clip's own maximum."""
    decibel = 10.0 * power.clamp_min(POWER_FLOOR).log10()
    floor = decibel.amax(dim=(1, 2), keepdim=True) - DYNAMIC_RANGE_DB
    return torch.maximum(decibel, floor)


def normalise(decibel: Tensor) -> Tensor:
    """Decibels to the method's min-max scale: -79.6482 dB is -1, 50.6842 dB is 1, not clipped."""
    return (decibel - NORM_LOW_DB) / (NORM_HIGH_DB - NORM_LOW_DB) * 2.0 - 1.0


def mel_filterbank() -> Tensor:
    """Triangular filters of peak height 1 on the HTK mel scale, `(513, 64)` float32."""
    edges = torch.linspace(_hz_to_mel(MEL_LOW_HZ), _hz_to_mel(MEL_HIGH_HZ), N_MELS + 2, dtype=torch.float64)
    edges = 700.0 * (10.0 ** (edges / 2595.0) - 1.0)
    bins = torch.linspace(0, SAMPLE_RATE / 2, N_FFT // 2 + 1, dtype=torch.float64)
    distance = edges[None, :] - bins[:, None]  # (513, 66)
    width = edges.diff()
    rising = -distance[:, :-2] / width[:-1]
    falling = distance[:, 2:] / width[1:]
    return torch.minimum(rising, falling).clamp_min(0.0).float()


def _hz_to_mel(hz: float) -> float:
    return 2595.0 * math.log10(1.0 + hz / 700.0)
