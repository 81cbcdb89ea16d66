"""How the classifiers of a probe learned, as a plot for its report."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from atst.evaluation.measured import Search
from atst.evaluation.mlp import EVERY, Trained
from atst.evaluation.results import ProbeResult
from atst.evaluation.sweep import Sweep
from atst.output.html import Plot

SWEEP = (
    "Left: validation metric of each learning rate at its best epoch; dots: what was chosen. Right: "
    "validation metric and training loss by epoch at the chosen rate. Thin: each fold; thick: the mean."
)
SEARCH = (
    "Left: validation metric by epoch of each point of the grid that was tried, with the first fold if there "
    "are several; dots: the epoch that is kept; thick: the chosen point. Right: validation metric and "
    "training loss by epoch at the chosen point, a line for each fold."
)


def learning_plot(learning: Sweep | Search, result: ProbeResult) -> Plot:
    """Of either protocol."""
    figure = Figure(figsize=(9.5, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    loss = right.twinx()
    assert isinstance(loss, Axes), "the twin of one plot is one plot"
    if isinstance(learning, Sweep):
        _sweep(left, right, loss, learning, result)
    else:
        _search(left, right, loss, learning)
    left.set_ylabel(f"validation {result.metric}")
    right.set(xlabel="epoch", ylabel=f"validation {result.metric}")
    right.yaxis.label.set_color("C0")
    loss.set_ylabel("training loss", color="C3")
    for axes in (left, right, loss):
        axes.spines[["top"]].set_visible(False)
    left.spines[["right"]].set_visible(False)
    left.grid(alpha=0.25)
    return Plot(figure, SWEEP if isinstance(learning, Sweep) else SEARCH)


def _sweep(left: Axes, right: Axes, loss: Axes, swept: Sweep, result: ProbeResult) -> None:
    at = (swept.epochs - 1)[None]
    metric = swept.valid_metric.gather(0, at)[0].numpy()  # (F, R)
    _lines(left, np.array(result.rates), metric, "C0")
    for choice in result.chosen:
        if choice.valid is not None:
            left.plot(choice.rate, choice.valid, "o", color="C1", markersize=5)
    left.set(xscale="log", xlabel="learning rate (batch of 256)")
    best = np.array([result.rates.index(choice.rate) for choice in result.chosen])
    folds = np.arange(len(best))
    epochs = np.arange(1, len(swept.train_loss) + 1)
    _lines(right, epochs, swept.valid_metric.numpy()[:, folds, best].T, "C0")
    _lines(loss, epochs, swept.train_loss.numpy()[:, folds, best].T, "C3")


def _search(left: Axes, right: Axes, loss: Axes, search: Search) -> None:
    for colour, trained in enumerate(search.tried):
        point = trained.point
        name = f"{point.hidden} x {point.rate:g} {point.init.removeprefix('xavier_')}"
        width = 2.2 if trained is search.folds[0] else 0.9
        left.plot(*_metric(trained), color=f"C{colour}", linewidth=width, label=name)
        left.plot(trained.epoch, trained.metric, "o", color=f"C{colour}", markersize=5)
    left.set_xlabel("epoch")
    left.legend(frameon=False, fontsize=6.5, title="layers x rate", title_fontsize=6.5)
    for trained in search.folds:
        right.plot(*_metric(trained), color="C0", linewidth=1)
        loss.plot(range(1, len(trained.train_loss) + 1), trained.train_loss, color="C3", linewidth=1)


def _metric(trained: Trained) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Epochs and validation metrics, both (V,); a gap where it diverged."""
    metric = np.array(trained.valid_metric)
    return EVERY * np.arange(1, len(metric) + 1), np.where(metric < 0, np.nan, metric)


def _lines(axes: Axes, x: NDArray, lines: NDArray, colour: str) -> None:
    """Thin lines (F, n), and a thick one for their mean."""
    if len(lines) > 1:
        axes.plot(x, lines.T, color=colour, alpha=0.25, linewidth=0.8)
    axes.plot(x, lines.mean(0), color=colour, linewidth=2)
