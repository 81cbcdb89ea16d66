"""A probe's report: the number, what was chosen, which classes are mixed up, how the clips lie."""

from pathlib import Path

import matplotlib
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

from atst.evaluation.gather import all_equal
from atst.evaluation.measured import Probe, Search
from atst.evaluation.mlp import EVERY, Trained
from atst.evaluation.results import ProbeResult
from atst.evaluation.sweep import Sweep
from atst.output.html import Alert, Headline, Plot, Section, Table, write_report
from atst.scoring.per_class import chance, class_parts, drawn
from atst.tasks.division import first_label

MAP_CLIPS = 3000  # most clips in the map: t-SNE takes longer than it tells beyond
COLOURS = 20  # classes told apart by colour in the map
MAP = (
    "t-SNE of the features (standardised, 50 principal components), coloured by (first) label. "
    "Near is alike; distances between groups mean little."
)
DRAWS = "Each seed draws its own training clips. All below is of the first seed."

SWEEP = (
    "Left: validation metric of each learning rate at its best epoch; dots: what was chosen. Right: "
    "validation metric and training loss by epoch at the chosen rate. Thin: each fold; thick: the mean."
)
SEARCH = (
    "Left: validation metric by epoch of each point of the grid that was tried, with the first fold if there "
    "are several; dots: the epoch that is kept; thick: the chosen point. Right: validation metric and "
    "training loss by epoch at the chosen point, a line for each fold."
)


def probe_report(probe: Probe, path: str | Path, brief: bool = False) -> None:
    """Write the report of a probe as one HTML file; `brief`: without the map of the embeddings."""
    result = probe.result
    grid = f"Of the grid's points {len(result.tried)} were tried. Layers, rate, initialisation"
    chosen = f"{grid if result.tried else 'Learning rate'} and epoch were chosen on {result.selected_on}."
    sections = [
        Section("", [_headline(probe), *[Alert(text) for text in result.warnings]]),
        *([Section("Draws of training clips", [DRAWS, _draws(probe)])] if result.seeds else []),
        Section("What validation chose", [chosen, _choices(probe), *_tried(result)]),
        Section("Learning", [_learning(probe.learning, result)]),
        Section("Classes", class_parts(probe.task, probe.features.rows[probe.tested], probe.logits)),
        *([] if brief else [Section("Map of the embeddings", [_map(probe)])]),
        Section("Settings", [_settings(probe)]),
    ]
    if result.skipped:
        sections.append(Section("Skipped clips", [Table(["clip", "reason"], result.skipped)]))
    kind = "Linear probe" if result.protocol == "paper" else "HEAR's protocol"
    write_report(path, f"{kind}: {result.model} on {result.task}", sections)


def _headline(probe: Probe) -> Headline:
    result = probe.result
    low, high = result.ci
    over = f"Mean over {len(result.selected)} folds" if probe.splits.folds else "On the test split"
    over += f" and {len(result.seeds)} draws" if len(result.seeds) > 1 else ""
    return Headline(
        f"{result.metric} {result.value:.3f}",
        f"{over}; trained on {result.trained_on}; {len(probe.tested)} test clips. "
        f"95% interval over {result.ci_over}: {low:.3f} to {high:.3f}. "
        f"Nearest neighbours (k = {result.knn['k']}, {result.knn['distance']}): {result.knn['value']:.3f}. "
        f"Chance is about {chance(probe.task, probe.features.rows[probe.tested]):.3f}.",
    )


def _choices(probe: Probe) -> Table:
    header = ["rate", "epoch", "validation", "test", "train clips", "valid clips", "test clips"]
    rows: list[list[object]] = [
        [f"{c.learning_rate:g}", c.epoch, _number(c.valid), f"{c.value:.3f}", *c.clips.values()]
        for c in probe.result.selected
    ]
    if not probe.splits.folds:
        return Table(header, rows)
    return Table(
        ["fold", *header], [[c.fold, *row] for c, row in zip(probe.result.selected, rows, strict=True)]
    )


def _tried(result: ProbeResult) -> list[Table]:
    """The points of the grid, best first; none where only rates were swept."""
    order = sorted(result.tried, key=lambda own: -own.valid)
    rows: list[list[object]] = [
        [
            own.hidden,
            f"{own.learning_rate:g}",
            own.init,
            own.epoch,
            _number(own.valid if own.valid >= 0 else None),
        ]
        for own in order
    ]
    return [Table(["hidden layers", "rate", "initialisation", "epoch", "validation"], rows)] if rows else []


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _draws(probe: Probe) -> Table:
    rows = [[run.seed, f"{run.value:.3f}", f"{run.knn:.3f}"] for run in probe.result.seeds]
    return Table(["seed", probe.result.metric, "nearest neighbours"], rows)


def _learning(learning: Sweep | Search, result: ProbeResult) -> Plot:
    """How the classifiers learned, of either protocol."""
    figure = Figure(figsize=(9.5, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    loss = right.twinx()
    assert isinstance(loss, Axes), "the twin of one plot is one plot"
    if isinstance(learning, Sweep):
        _learned_sweep(left, right, loss, learning, result)
    else:
        _learned_search(left, right, loss, learning)
    left.set_ylabel(f"validation {result.metric}")
    right.set(xlabel="epoch", ylabel=f"validation {result.metric}")
    right.yaxis.label.set_color("C0")
    loss.set_ylabel("training loss", color="C3")
    for axes in (left, right, loss):
        axes.spines[["top"]].set_visible(False)
    left.spines[["right"]].set_visible(False)
    left.grid(alpha=0.25)
    return Plot(figure, SWEEP if isinstance(learning, Sweep) else SEARCH)


def _learned_sweep(left: Axes, right: Axes, loss: Axes, swept: Sweep, result: ProbeResult) -> None:
    at = (swept.epochs - 1)[None]
    metric = swept.valid_metric.gather(0, at)[0].numpy()  # (F, R)
    _lines(left, np.array(result.learning_rates), metric, "C0")
    for choice in result.selected:
        if choice.valid is not None:
            left.plot(choice.learning_rate, choice.valid, "o", color="C1", markersize=5)
    left.set(xscale="log", xlabel="learning rate (batch of 256)")
    best = np.array([result.learning_rates.index(choice.learning_rate) for choice in result.selected])
    folds = np.arange(len(best))
    epochs = np.arange(1, len(swept.train_loss) + 1)
    _lines(right, epochs, swept.valid_metric.numpy()[:, folds, best].T, "C0")
    _lines(loss, epochs, swept.train_loss.numpy()[:, folds, best].T, "C3")


def _learned_search(left: Axes, right: Axes, loss: Axes, search: Search) -> None:
    for colour, trained in enumerate(search.tried):
        point = trained.point
        name = f"{point.hidden} x {point.learning_rate:g} {point.init.removeprefix('xavier_')}"
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


def _map(probe: Probe) -> Plot:
    names = [*probe.task.label_names, "none"]
    labels = first_label(probe.task.labels[probe.features.rows])
    names = names if (labels == len(names) - 1).any() else names[:-1]
    chosen = np.arange(len(labels))
    if len(chosen) > MAP_CLIPS:
        chosen = np.sort(np.random.default_rng(0).permutation(chosen)[:MAP_CLIPS])
    points = layout(probe.features.values[chosen])
    figure = Figure(figsize=(8.5, 6), layout="constrained")
    axes = figure.subplots()
    frequent = np.argsort(-np.bincount(labels, minlength=len(names)), kind="stable")
    rest = ~np.isin(labels[chosen], frequent[:COLOURS])
    axes.scatter(points[rest, 0], points[rest, 1], s=6, color="#d0d7de")
    for colour, label in enumerate(sorted(frequent[:COLOURS])):
        own = labels[chosen] == label
        shade = f"C{colour}" if len(frequent) <= 10 else matplotlib.colormaps["tab20"](colour)
        if not own.any():
            continue
        x, y = points[own].T
        name = drawn(names[label])
        axes.scatter(x, y, s=14, color=shade, alpha=0.8, linewidths=0, label=name)
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, fontsize=8, markerscale=2)
    axes.set_axis_off()
    return Plot(figure, MAP)


def layout(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """A position in the plane for each row of `features` (n, D): (n, 2); one for all if they are equal."""
    if all_equal(torch.from_numpy(features)):
        return np.zeros((len(features), 2), dtype=np.float32)
    spread = features.std(0)
    scaled = (features - features.mean(0)) / np.where(spread > 1e-8, spread, 1)
    parts = min(50, *scaled.shape)
    scaled = PCA(parts, svd_solver="randomized", random_state=0).fit_transform(scaled)
    if len(scaled) < 10:
        return np.pad(scaled, ((0, 0), (0, 2)))[:, :2]
    perplexity = min(30, (len(scaled) - 1) / 3)
    return TSNE(init="pca", perplexity=perplexity, random_state=0).fit_transform(scaled)


def _settings(probe: Probe) -> Table:
    result = probe.result
    rows = [
        ["task", f"{result.task}. {probe.task.about}".strip(". ")],
        ["model", f"{result.model} ({result.fingerprint})"],
        [
            "features",
            f"{probe.features.values.shape[1]} values: {result.layers} blocks, pooling {result.pooling}",
        ],
        ["classifier", f"{result.classifier}; kept: trained on {probe.head.trained_on}"],
        ["seed", str(result.seed)],
        ["computed on", result.computed_on],
        *[[key.replace("_", " "), f"{value:.4g}"] for key, value in result.calibration.items()],
        *[[key.replace("_", " "), str(value)] for key, value in result.settings.items()],
    ]
    return Table(["", ""], rows)
