"""A page with the spectrogram of recordings and, under it, what the encoder attends to."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray

from atst.model.attention import check_cls, cls_attention
from atst.model.frontend import FRAMES_PER_SECOND, N_MELS, SAMPLE_RATE
from atst.output.html import Plot, Section, write_report
from atst.sound import isolated
from atst.sound.messages import Request
from atst.sound.recording import Recording
from atst.sound.windows import WINDOW_SECONDS

MOST = 50  # recordings on a page


def write_attention(path: str | Path, model: Any, recordings: Sequence[Recording], **how: Any) -> None:
    """Write the page: the first minute of each recording, of the first 50; `how` as in `audio.read`.

    Raises `UsageError` for a model without CLS, `AudioError` for a recording that cannot be read.
    """
    check_cls(model)
    sections = [_section(model, recording, how) for recording in recordings[:MOST]]
    about = (
        f"How much the CLS token of the last block of {model.name} attends to each 40 ms, a line a head. In "
        f"each stretch of {model.config.segment_seconds:g} s, encoded by itself, weights add up to 1."
    )
    if len(recordings) > MOST:
        about += f" The first {MOST} of {len(recordings)} recordings are shown."
    write_report(path, "Attention", [Section("", [about]), *sections])


def _section(model: Any, recording: Recording, how: dict[str, Any]) -> Section:
    seconds = WINDOW_SECONDS if recording.end is None else recording.end - recording.start
    stretch = {"start": recording.start, "duration": min(seconds, WINDOW_SECONDS), **how}
    sound = isolated.waveform(Request("read", str(recording.path), stretch, recording.stored))
    times, weights = cls_attention(model, sound, SAMPLE_RATE)
    caption = f"{len(sound) / SAMPLE_RATE:.2f} s from {recording.start:g} s on."
    return Section(Path(recording.name).name, [Plot(_figure(model, sound, times, weights), caption)])


def _figure(
    model: Any, sound: NDArray[np.float32], times: NDArray[np.float64], weights: NDArray[np.float32]
) -> Figure:
    """Log-mel spectrogram above a map of heads by time."""
    where = next(model.parameters()).device
    with torch.no_grad():
        logmel = model.frontend(torch.from_numpy(sound).to(where)[None])[0].cpu().numpy()  # (64, T)
    figure = Figure(figsize=(9, 4.2), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[2, 1])
    seconds = logmel.shape[1] / FRAMES_PER_SECOND
    above.imshow(logmel, origin="lower", aspect="auto", cmap="magma", extent=(0, seconds, 0, N_MELS))
    above.set_ylabel("mel band")
    half = (times[1] - times[0]) / 2 if len(times) > 1 else seconds / 2
    extent = (times[0] - half, times[-1] + half, len(weights) + 0.5, 0.5)
    drawn = below.imshow(
        weights, aspect="auto", cmap="viridis", extent=extent, interpolation="nearest", vmin=0
    )
    below.set(xlabel="seconds", ylabel="head", yticks=range(1, len(weights) + 1))
    figure.colorbar(drawn, ax=below, label="weight")
    return figure
