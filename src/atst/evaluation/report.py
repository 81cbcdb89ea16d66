"""What a probe leaves in its `--out` folder, and the report in it."""

from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from atst.evaluation.lazy import all_equal
from atst.evaluation.mlp import EVERY, Search, Trained
from atst.evaluation.result import Probe, ProbeResult
from atst.evaluation.sweep import Sweep
from atst.output.html import Alert, Plot, Section, Table, write_report
from atst.scoring.per_class import class_parts, drawn
from atst.scoring.report import headline, interval_text, last_sections, selected_table, text

MAP_CLIPS = 3000  # most clips in the map: t-SNE takes longer than it tells beyond
COLOURS = 20  # classes with a colour of their own in the map
MAP = (
    "t-SNE of the features (standardised, 50 principal components), coloured by (first) label. "
    "Neighbours are similar; distances between groups mean little."
)
TITLES = {
    "paper": "Linear probe",
    "simple": "Logistic regression and nearest neighbours",
    "hear": "HEAR's protocol",
}
DRAWS = "Each seed draws its own training clips. All below is of the first seed."
SWEEP = (
    "Left: validation metric of each learning rate at its best epoch; dots: what was selected. Right: "
    "validation metric and training loss by epoch at the selected learning rate. Thin: each fold; thick: the "
    "mean."
)
SEARCH = (
    "Left: validation metric by epoch of each point of the grid that was tried, with the first fold if there "
    "are several; dots: the epoch that is kept; thick: the selected point. Right: validation metric and "
    "training loss by epoch at the selected point, a line for each fold."
)


def write_probe(probe: Probe, folder: str | Path, *, brief: bool = False) -> None:
    """Write `model/`, `predictions.csv`, `results.json` and last `report.html`; each whole or not at all.

    `brief` leaves out `model/`, and the report's map of the embeddings, which takes longer than a probe.
    A picture that cannot be drawn costs no result. Numbers and report of an earlier probe go first, so that
    none stand beside the model of this one when it is interrupted.
    """
    folder, result = Path(folder), probe.result
    for name in ("report.html", "results.json"):
        (folder / name).unlink(missing_ok=True)
    if not brief:
        classifier = result.as_classifier(probe.data.model, probe.kept.head, probe.data.task)
        classifier.save(folder / "model", result.task, probe.kept.trained_on)
    probe.tested.write(result, folder)
    _report(probe, folder / "report.html", brief)


def _report(probe: Probe, path: Path, brief: bool) -> None:
    result, tested = probe.result, probe.tested
    values = probe.data.features.shape[1]
    settings = {
        "features": f"{values} values: {result.layers} blocks, pooling {result.pooling}",
        "classifier": f"{result.classifier}; kept: trained on {probe.kept.trained_on}",
    }
    knn = result.knn
    nearest = f" Nearest neighbours (k = {knn['k']}, {knn['distance']}): {knn['value']:.3f}"
    nearest += f" ({interval_text(knn['ci'])})."
    header = ["seed", result.metric, "nearest neighbours"]
    draws = [[run.seed, text(run.value), text(run.knn)] for run in result.seeds]
    sections = [
        Section("", [headline(result, tested, nearest), *map(Alert, result.warnings)]),
        *([Section("Draws of training clips", [DRAWS, Table(header, draws)])] if result.seeds else []),
        *_selection(probe),
        Section("Classes", class_parts(tested.task, tested.rows, tested.logits)),
        *([] if brief else [Section("Map of the embeddings", [_map(probe)])]),
        *last_sections(result, tested.task, settings),
    ]
    write_report(path, f"{TITLES[result.protocol]}: {result.model} on {result.task}", sections)


def _selection(probe: Probe) -> list[Section]:
    """What was selected and how that was trained; where nothing was, the figures of each fold."""
    result = probe.result
    if probe.learning is None:
        header = ["fold", result.metric, "nearest neighbours", "training clips", "test clips"]
        rows = [
            [text(s.fold), text(s.value), text(knn), s.clips["train"], s.clips["test"]]
            for s, knn in zip(result.selected, result.knn["folds"], strict=True)
        ]
        return [Section("Folds" if probe.data.splits.folds else "Clips", [Table(header, rows)])]
    grid = f"{len(result.tried)} points of the grid were tried. Layers, learning rate, initialisation"
    searched = grid if result.tried else "Learning rate"
    selection = f"{searched} and epoch were selected on: {result.selected_on}."
    return [
        Section("What validation selected", [selection, selected_table(result), *_tried(result)]),
        Section("Learning", [_learning(probe.learning, result)]),
    ]


def _tried(result: ProbeResult) -> list[Table]:
    """The points of the grid, best first; none where only learning rates were swept."""
    header = ["hidden layers", "learning rate", "initialisation", "epoch", "validation"]
    rows = [
        [t.hidden, f"{t.learning_rate:g}", t.init, t.epoch, text(t.valid if t.valid >= 0 else None)]
        for t in sorted(result.tried, key=lambda tried: -tried.valid)
    ]
    return [Table(header, rows)] if rows else []


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
    for selection in result.selected:
        if selection.valid is not None:
            left.plot(selection.learning_rate, selection.valid, "o", color="C1", markersize=5)
    left.set(xscale="log", xlabel="learning rate (batch of 256)")
    best = np.array([result.learning_rates.index(each.learning_rate) for each in result.selected])
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
    task = probe.data.task
    names = [*task.label_names, "none"]
    labels = task.first_labels[probe.data.extracted.rows]
    names = names if (labels == len(names) - 1).any() else names[:-1]
    shown = np.arange(len(labels))
    if len(shown) > MAP_CLIPS:
        shown = np.sort(np.random.default_rng(0).permutation(shown)[:MAP_CLIPS])
    points = layout(probe.data.extracted.values[shown])
    figure = Figure(figsize=(8.5, 6), layout="constrained")
    axes = figure.subplots()
    frequent = np.argsort(-np.bincount(labels, minlength=len(names)), kind="stable")
    rest = ~np.isin(labels[shown], frequent[:COLOURS])
    axes.scatter(points[rest, 0], points[rest, 1], s=6, color="#d0d7de")
    for colour, label in enumerate(sorted(frequent[:COLOURS])):
        clips = labels[shown] == label
        shade = f"C{colour}" if len(frequent) <= 10 else matplotlib.colormaps["tab20"](colour)
        if clips.any():
            x, y = points[clips].T
            axes.scatter(x, y, s=14, color=shade, alpha=0.8, linewidths=0, label=drawn(names[label]))
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, fontsize=8, markerscale=2)
    axes.set_axis_off()
    return Plot(figure, MAP)


def layout(features: Tensor) -> NDArray[np.float32]:
    """A position in the plane for each row of `features` (n, D): (n, 2); one for all if they are equal."""
    if all_equal(features):
        return np.zeros((len(features), 2), dtype=np.float32)
    components = PCA(min(50, *features.shape), svd_solver="randomized", random_state=0)
    scaled = components.fit_transform(StandardScaler().fit_transform(features.numpy()))
    if len(scaled) < 10:
        return np.pad(scaled, ((0, 0), (0, 2)))[:, :2]
    perplexity = min(30, (len(scaled) - 1) / 3)
    return TSNE(init="pca", perplexity=perplexity, random_state=0).fit_transform(scaled)
