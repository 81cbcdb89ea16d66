"""A stretch of a recording to be heard and seen in a browser: FLAC and PNG, at the recording's own rate."""

import base64
import io
import math
from pathlib import Path

import matplotlib.image
import numpy as np
import soundfile
from numpy.typing import NDArray

from atst.errors import AudioError
from atst.sound import isolated

LONGEST = 60.0  # s of a stretch; also the length of one without a known end
FLAC_RATES = 655350  # Hz; beyond, WAV
COLUMNS, BANDS = 480, 96  # of a picture, at most
RANGE_DB = 80.0

Waveform = NDArray[np.float32]


def read(path: Path, start: float = 0.0, end: float = math.nan) -> tuple[Waveform, int]:
    """The stretch, float32 (N,), and its sample rate; NaN stands for a start or an end that is not known.

    Raises `AudioError` where there is no sound.
    """
    start = 0.0 if math.isnan(start) else start
    duration = LONGEST if math.isnan(end) else min(LONGEST, end - start)
    waveform, rate = isolated.native(path, start, duration)
    if not len(waveform):
        raise AudioError(f"{path}: no sound from {start:g} s on")
    return np.nan_to_num(waveform).clip(-1, 1), rate


def audio_file(waveform: Waveform, rate: int) -> tuple[str, bytes]:
    """The MIME type and the bytes of a file that browsers play."""
    kind = "flac" if rate <= FLAC_RATES else "wav"
    file = io.BytesIO()
    soundfile.write(file, waveform, rate, format=kind, subtype="PCM_16")
    return f"audio/{kind}", file.getvalue()


def picture(waveform: Waveform, rate: int) -> bytes:
    """A PNG of the spectrogram: decibels in bands on the mel scale, low ones below."""
    size = 1024 if rate >= 16000 else 512
    padded = np.pad(waveform, size // 2)
    hop = max(size // 8, math.ceil(len(waveform) / COLUMNS))
    frames = np.lib.stride_tricks.sliding_window_view(padded, size)[::hop]  # (T, size)
    power = np.abs(np.fft.rfft(frames * np.hanning(size), axis=1)) ** 2  # (T, F)
    highest = 2595 * math.log10(1 + rate / 2 / 700)
    hertz = 700 * (10 ** (np.linspace(0, highest, BANDS + 1)[:-1] / 2595) - 1)
    edges = np.unique(np.floor(hertz / rate * size).astype(int))
    bands = np.add.reduceat(power, edges, axis=1) / np.diff(edges, append=power.shape[1])
    decibel = 10 * np.log10(bands.T + 1e-10)
    top = float(decibel.max())
    file = io.BytesIO()
    matplotlib.image.imsave(
        file, decibel, vmin=top - RANGE_DB, vmax=top, cmap="magma", origin="lower", format="png"
    )
    return file.getvalue()


def data_uri(kind: str, content: bytes) -> str:
    """A file as an address for a page that holds all it needs."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
