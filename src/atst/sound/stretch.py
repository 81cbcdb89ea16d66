"""Parts of a waveform."""

import numpy as np
from numpy.typing import NDArray

from atst.sound.audio import SAMPLE_RATE


def middle(waveform: NDArray[np.float32], seconds: float | None) -> NDArray[np.float32]:
    """The middle `seconds` of a waveform at 16 kHz, all of it if it is not longer."""
    keep = len(waveform) if seconds is None else round(seconds * SAMPLE_RATE)
    start = max(0, round((len(waveform) - keep) / 2))
    return waveform[start : start + keep]
