"""Test results by class and by clip: for reports and `predictions.csv`."""

from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.metrics import confusion_matrix
from torch import Tensor

from atst.output.atomic import write_csv
from atst.output.html import Part, Plot, Table
from atst.output.text import writable
from atst.scoring.metrics import average_precision
from atst.tasks import Task

NAMED_CLASSES = 30  # most classes whose names fit beside a confusion matrix


def class_parts(task: Task, rows: NDArray[np.int64], logits: Tensor) -> list[Part]:
    """A confusion matrix of the clips `rows` with their logits (n, C); multi-label: a table of precisions."""
    labels = task.labels[rows]
    if task.multi_label:
        values = average_precision(logits, torch.from_numpy(labels)).tolist()
        order = np.argsort([-value for value in values])
        cells = [[task.label_names[i], int(labels[:, i].sum()), f"{values[i]:.3f}"] for i in order]
        return [Table(["class", "test clips", "average precision"], cells)]
    matrix = confusion_matrix(labels, logits.argmax(-1).numpy(), labels=range(len(task.label_names)))
    return [
        Plot(
            _confusion(matrix, task.label_names),
            "Test clips by true and predicted class; shade: share of the true class.",
        )
    ]


def chance(task: Task, rows: NDArray[np.int64]) -> float:
    """The accuracy of always predicting the most frequent class; multi-label: the mean share of positives."""
    labels = task.labels[rows]
    return float(labels.mean()) if task.multi_label else float(np.bincount(labels).max() / len(labels))


def write_predictions(task: Task, rows: NDArray[np.int64], logits: Tensor, path: Path) -> None:
    """One line a tested clip. Multi-label: the classes at 0.5 or more, then the score of each class.

    Where clips are segments, their start and end in seconds follow the path.
    """
    many = task.multi_label
    scores = (logits.sigmoid() if many else logits.softmax(-1)).numpy()  # (n, C)
    header = ["path"] if task.segments is None else ["path", "start", "end"]
    header += [task.by, "label", "prediction"]
    labels = [writable(name) for name in task.label_names]
    header += [f"score {name}" for name in labels] if many else ["score", "correct"]

    def cells(row: int, score: NDArray[np.float64]) -> list[object]:
        label = _text(task.labels[row], labels)
        guess = _text(score >= 0.5, labels) if many else labels[int(score.argmax())]
        rest = [f"{value:.6g}" for value in score] if many else [f"{score.max():.6g}", int(guess == label)]
        times = [] if task.segments is None else _times(task.segment(row))
        return [writable(task.names[row]), *times, task.parts[row], label, guess, *rest]

    write_csv(path, header, map(cells, rows.tolist(), scores))


def drawn(name: str) -> str:
    """A name for matplotlib, which would set text between two dollars as mathematics.

    A space of no width precedes a `_`, since labels that begin with one are left out of legends.
    """
    name = writable(name).replace("$", r"\$")
    return f"\u200b{name}" if name.startswith("_") else name


def _confusion(matrix: NDArray[np.int64], names: list[str]) -> Figure:
    share = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    side = float(np.clip(0.42 * len(names) + 1.8, 4, 9.5))
    figure = Figure(figsize=(side, side * 0.92), layout="constrained")
    axes = figure.subplots()
    names = [drawn(name) for name in names]
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    if len(names) <= NAMED_CLASSES:
        axes.set_xticks(range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor", fontsize=8)
        axes.set_yticks(range(len(names)), names, fontsize=8)
        for (i, j), count in np.ndenumerate(matrix):
            if count:
                colour = "white" if share[i, j] > 0.55 else "#333333"
                axes.text(j, i, str(count), ha="center", va="center", fontsize=7.5, color=colour)
    axes.set(xlabel="predicted", ylabel="true")
    axes.spines[:].set_visible(False)
    return figure


def _text(label: NDArray, names: list[str]) -> str:
    """A class index, or a multi-hot row, as text."""
    present = [int(label)] if label.ndim == 0 else np.flatnonzero(label).tolist()
    return ";".join(names[i] for i in present)


def _times(segment: tuple[float, float] | None) -> list[str]:
    """The cells of a segment; empty for a whole file, as in a task's table."""
    return ["", ""] if segment is None else [f"{time:g}" for time in segment]
