"""Pictures of a run: curves of its metrics, and the two views of some clips."""

from collections.abc import Mapping

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from atst.corpus import Corpus
from atst.model.encoder import HEAD_OUTPUT
from atst.model.frontend import FRAMES_PER_SECOND
from atst.pretraining import data
from atst.pretraining.health import UNIFORM_STD
from atst.pretraining.recipe import Recipe
from atst.pretraining.views import Views
from atst.training.loader import BatchPositions

POINTS = 3000  # most points drawn of a curve
CLIPS = 4  # whose views are shown
HEARD = 28  # clips in the mixup bank before them
GREY = "#57606a"

Columns = Mapping[str, NDArray[np.float64]]  # of metrics.csv: a value a step, NaN where there is none


def learning(columns: Columns) -> Figure:
    """Loss, output std and effective rank of the outputs, and the watched task's accuracy if there is one."""
    watched = bool((~np.isnan(columns["watch"])).any())
    figure, axes = _row(4 if watched else 3, 3.0, columns["step"])
    _curve(axes[0], columns, "loss", "C0")
    axes[0].set_title("loss")
    for network, colour in (("student", "C0"), ("teacher", "C1")):
        _curve(axes[1], columns, f"output_std_{network}", colour, network)
        _curve(axes[2], columns, f"rank_{network}", colour, network)
    axes[1].axhline(UNIFORM_STD, color=GREY, linestyle="--", linewidth=1)
    axes[1].set(title="output std", ylim=(0, 1.15 * UNIFORM_STD))
    axes[1].text(0.99, UNIFORM_STD * 1.02, "uniform: 1/16", ha="right", va="bottom", fontsize=8,
                 color=GREY, transform=axes[1].get_yaxis_transform())  # fmt: skip
    axes[2].set(title=f"effective rank (of {HEAD_OUTPUT})", ylim=(0, 1.1 * axes[2].get_ylim()[1]))
    axes[1].legend(frameon=False, fontsize=8, loc="lower right")
    axes[2].legend(frameon=False, fontsize=8, loc="upper right")
    if watched:
        known = ~np.isnan(columns["watch"])
        axes[3].plot(columns["step"][known], columns["watch"][known], "o-", color="C2", markersize=3)
        axes[3].set_title("kNN accuracy, watched task")
    return figure


def schedules(columns: Columns) -> Figure:
    """Learning rate, weight decay, the teacher's decay, and the speed."""
    figure, axes = _row(4, 2.3, columns["step"])
    for panel, name in zip(axes, ("learning_rate", "weight_decay", "ema", "clips_per_second"), strict=True):
        _curve(panel, columns, name, "C0", smooth=name == "clips_per_second")
        panel.set_title(name.replace("_", " ").replace("ema", "EMA decay of the teacher"))
    axes[0].yaxis.set_major_formatter(lambda value, place: f"{value:g}")
    axes[2].ticklabel_format(axis="y", useOffset=False)
    axes[3].set_ylim(0, None)
    return figure


def views(recipe: Recipe, corpus: Corpus) -> Figure:
    """Clips early in the stream: both segments and both views, as the run augments them."""
    dataset = data.PairDataset(corpus, recipe, logmel=True)
    before, shown = (
        next(iter(data.loader(dataset, BatchPositions(size, start), workers=0)))
        for size, start in ((HEARD, 0), (CLIPS, HEARD // CLIPS))
    )
    augment = Views(recipe)
    with torch.no_grad():
        augment.remember(before)
        first, second = augment(shown)
    columns = {
        "segment 1": shown["views"][0],
        "view 1": first,
        "segment 2": shown["views"][1],
        "view 2": second,
    }
    figure = Figure(figsize=(9.8, 1.25 * CLIPS + 0.5), layout="constrained")
    grid = figure.subplots(CLIPS, len(columns), sharex=True, sharey=True)
    low, high = (float(shown["views"][0].quantile(q)) for q in (0.01, 0.999))
    for place, (name, logmels) in enumerate(columns.items()):
        grid[0, place].set_title(name, fontsize=10)
        grid[-1, place].set_xlabel("seconds", fontsize=8)
        for panel, logmel in zip(grid[:, place], logmels.numpy(), strict=True):
            extent = (0, logmel.shape[1] / FRAMES_PER_SECOND, 0, len(logmel))
            panel.imshow(
                logmel, origin="lower", aspect="auto", cmap="magma", vmin=low, vmax=high, extent=extent
            )
            panel.set_yticks([])
            panel.tick_params(labelsize=8)
            panel.locator_params(axis="x", nbins=4)
    return figure


def _row(count: int, height: float, steps: NDArray[np.float64]) -> tuple[Figure, list[Axes]]:
    """Panels side by side over the same steps."""
    last = max(steps[-1], 1.0) if len(steps) else 1.0
    figure = Figure(figsize=(9.8, height), layout="constrained")
    axes = list(figure.subplots(1, count))
    for panel in axes:
        panel.spines[["top", "right"]].set_visible(False)
        panel.grid(alpha=0.25)
        panel.set(xlabel="step", xlim=(-0.03 * last, 1.03 * last))
        panel.locator_params(axis="x", nbins=5, integer=True)
        panel.locator_params(axis="y", nbins=5)
        panel.tick_params(labelsize=8)
        panel.title.set_fontsize(10)
    return figure, axes


def _curve(
    axes: Axes, columns: Columns, name: str, colour: str, label: str | None = None, smooth: bool = True
) -> None:
    """The known values of a column over steps; noisy ones pale, their running mean over them."""
    known = ~np.isnan(columns[name])
    steps, values = columns["step"][known], columns[name][known]
    every = -(-len(steps) // POINTS) or 1
    window = max(1, min(len(values) // 30, 200))
    if not smooth or window < 3:
        marker = "o" if len(steps) < 10 else ""
        axes.plot(steps[::every], values[::every], color=colour, marker=marker, markersize=3, label=label)
        return
    axes.plot(steps[::every], values[::every], color=colour, alpha=0.25, linewidth=0.7)
    axes.plot(steps[::every], running_mean(values, window)[::every], color=colour, linewidth=1.8, label=label)


def running_mean(values: NDArray[np.float64], window: int) -> NDArray[np.float64]:
    """Mean of the values at most `window // 2` places away, fewer at the ends."""
    total = np.concatenate([[0.0], np.cumsum(values)])
    place = np.arange(len(values))
    first, last = np.maximum(place - window // 2, 0), np.minimum(place + window // 2 + 1, len(values))
    return (total[last] - total[first]) / (last - first)
