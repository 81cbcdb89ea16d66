"""Features without learning: functionals of the log-mel spectrogram, and waveform descriptors.

They cost nothing, so they are the line that a learned encoder has to be ahead of. Both describe a clip by
statistics over time of short-time series, one value a frame of 10 ms; `statistics` says which.
"""

from itertools import pairwise

import torch
from torch import Tensor

from atst.model.frontend import HOP, N_FFT, SAMPLE_RATE

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
CEPSTRA = 20
MODULATION_HZ = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 50.0)  # edges of the bands of the modulation spectrum
MODULATION_FRAMES = 256  # of a segment of 2.56 s, the unit of the modulation spectrum
NOTES = range(36, 84)  # MIDI numbers of the periods at which the autocorrelation is taken: 65 to 988 Hz
CHROMA_HZ = (100.0, 5000.0)
COMPRESSION = 1 / 3  # power of the power spectrum whose inverse transform is the autocorrelation
FLOOR = 1e-10


def statistics(series: Tensor) -> Tensor:
    """Mean, standard deviation and five quantiles over time of each series: (S, T) -> (7 * S,)."""
    quantiles = torch.quantile(series, torch.tensor(QUANTILES, dtype=series.dtype), dim=1)  # (5, S)
    return torch.cat([series.mean(1), series.std(1, correction=0), quantiles.flatten()])


def functionals(logmel: Tensor) -> Tensor:
    """(64, T) log-mel -> (1304,): statistics of bands, cepstra and their slopes, and modulation spectrum."""
    slopes = torch.diff(logmel, dim=1, prepend=logmel[:, :1])  # (64, T)
    cepstrum = cepstra(logmel)
    cepstral_slopes = torch.diff(cepstrum, dim=1, prepend=cepstrum[:, :1])
    return torch.cat(
        [
            statistics(logmel),
            slopes.abs().mean(1),
            slopes.std(1, correction=0),
            statistics(cepstrum),
            statistics(cepstral_slopes),
            modulation(logmel),
        ]
    )


def cepstra(logmel: Tensor) -> Tensor:
    """(64, T) -> (20, T): the first cosine transform coefficients (DCT-II) of each frame, without the 0th."""
    bands = logmel.shape[0]
    orders = torch.arange(1, CEPSTRA + 1)[:, None]
    basis = torch.cos(torch.pi / bands * (torch.arange(bands) + 0.5) * orders)  # (20, 64)
    return basis @ logmel * (2 / bands) ** 0.5


def modulation(logmel: Tensor) -> Tensor:
    """(64, T) -> (448,): how each band's changes divide over seven bands of modulation, 0.5 to 50 Hz.

    Log power relative to its mean over the seven: how much a band varies at all is told by its deviation.
    Averaged over segments of 2.56 s that overlap by half; a shorter clip is one segment, padded with zeros.
    """
    centred = logmel - logmel.mean(1, keepdim=True)
    if centred.shape[1] < MODULATION_FRAMES:
        centred = torch.nn.functional.pad(centred, (0, MODULATION_FRAMES - centred.shape[1]))
    segments = centred.unfold(1, MODULATION_FRAMES, MODULATION_FRAMES // 2)  # (64, K, 256)
    spectrum = torch.fft.rfft(segments * torch.hann_window(MODULATION_FRAMES))
    power = spectrum.abs().square().mean(1)  # (64, 129)
    hertz = torch.fft.rfftfreq(MODULATION_FRAMES, HOP / SAMPLE_RATE)
    bands = [power[:, (hertz >= low) & (hertz < high)].mean(1) for low, high in pairwise(MODULATION_HZ)]
    course = torch.log(torch.stack(bands) + 1e-6)  # (7, 64)
    return (course - course.mean(0)).flatten()


def descriptors(waveform: Tensor) -> Tensor:
    """(N,) at 16 kHz -> (462,): statistics of 66 series that keep the full frequency resolution.

    Autocorrelation of the compressed power spectrum at the periods of 48 semitones, 12 pitch classes, and
    flatness, centroid, spread, roll-off, energy and flux of the spectrum.
    """
    padded = torch.nn.functional.pad(waveform, (N_FFT // 2, N_FFT // 2))
    frames = padded.unfold(0, N_FFT, HOP) * torch.hann_window(N_FFT)  # (T, 1024)
    power = torch.fft.rfft(frames, n=2 * N_FFT).abs().square() + FLOOR  # (T, 1025)
    return statistics(torch.cat([_autocorrelation(power), _chroma(power), _shape(power)], dim=1).T)


def _autocorrelation(power: Tensor) -> Tensor:
    """(T, F) -> (T, 48), relative to lag 0."""
    course = torch.fft.irfft(power**COMPRESSION, n=2 * (power.shape[1] - 1))  # (T, 2 * (F - 1))
    lags = SAMPLE_RATE / (440.0 * 2 ** ((torch.tensor(NOTES) - 69) / 12))  # samples
    low = lags.long()
    share = lags - low
    value = course[:, low] * (1 - share) + course[:, low + 1] * share
    return value / course[:, :1]


def _chroma(power: Tensor) -> Tensor:
    """(T, F) -> (T, 12): share of each pitch class in the magnitudes from 100 to 5000 Hz."""
    hertz = torch.fft.rfftfreq(2 * (power.shape[1] - 1), 1 / SAMPLE_RATE)
    inside = (hertz >= CHROMA_HZ[0]) & (hertz <= CHROMA_HZ[1])
    pitch = 69 + 12 * torch.log2(hertz[inside] / 440.0)
    distance = (pitch[:, None] - torch.arange(12) + 6) % 12 - 6  # (F', 12) semitones to the nearest octave
    weight = (1 - distance.abs()).clamp_min(0)
    chroma = power[:, inside].sqrt() @ weight
    return chroma / chroma.sum(1, keepdim=True)


def _shape(power: Tensor) -> Tensor:
    """(T, F) -> (T, 6): flatness, centroid, spread, roll-off, energy (dB), flux; frequencies in octaves."""
    octave = torch.log2(torch.fft.rfftfreq(2 * (power.shape[1] - 1), 1 / SAMPLE_RATE).clamp_min(20.0))
    share = power / power.sum(1, keepdim=True)
    centroid = share @ octave
    spread = (share @ octave.square() - centroid.square()).clamp_min(0).sqrt()
    rolloff = octave[(share.cumsum(1) < 0.85).sum(1).clamp_max(len(octave) - 1)]
    flatness = power.log().mean(1) - power.mean(1).log()
    energy = 10 * torch.log10(power.mean(1))
    root = share.sqrt()
    flux = torch.diff(root, dim=0, prepend=root[:1]).square().sum(1).sqrt()
    return torch.stack([flatness, centroid, spread, rolloff, energy, flux], dim=1)
