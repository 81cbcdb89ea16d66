"""What a probe leaves in its `--out` folder."""

import csv
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.torch import save as as_safetensors

from atst.atomic import new_file, new_folder
from atst.evaluation.probe import Probe
from atst.evaluation.report import probe_report


def write_probe(probe: Probe, model: Any, folder: str | Path) -> None:
    """Write `results.json`, `predictions.csv`, `report.html` and `model/`; each whole or not at all."""
    folder = Path(folder)
    with new_file(folder / "results.json") as temporary:
        temporary.write_text(json.dumps(asdict(probe.result), indent=2) + "\n")
    with new_file(folder / "predictions.csv") as temporary:
        _write_predictions(probe, temporary)
    probe_report(probe, folder / "report.html")
    write_classifier(probe, model, folder / "model")


def write_classifier(probe: Probe, model: Any, folder: str | Path) -> None:
    """Write the encoder, `head.safetensors` (weight (C, D), bias (C,)) and `labels.json`.

    Logits are features @ weight.T + bias, and scores those of logits / temperature; `labels.json` says how
    the features are made. BatchNorm is part of the weight. Baselines have no files of their own; their name
    says it all.
    """
    with new_folder(folder) as temporary:
        if hasattr(model, "save"):
            model.save(temporary)
        head = {"weight": probe.head.weight, "bias": probe.head.bias}
        (temporary / "head.safetensors").write_bytes(as_safetensors(head))
        labels = {
            "labels": probe.task.label_names,
            "multi_label": probe.task.multi_label,
            "task": probe.task.name,
            "trained_on": probe.head.trained_on,
            "temperature": probe.result.calibration["temperature"],
            "model": probe.result.model,
            "features": {
                "layers": probe.result.layers,
                "pooling": probe.result.pooling,
                **probe.result.settings,
            },
        }
        (temporary / "labels.json").write_text(json.dumps(labels, indent=2) + "\n")


def _write_predictions(probe: Probe, path: Path) -> None:
    """One row a tested clip. Multi-label: the classes at 0.5 or more, then the score of each class.

    Scores are calibrated, as those of `atst predict` are.
    """
    task = probe.task
    many = task.multi_label
    scores = (probe.calibrated.sigmoid() if many else probe.calibrated.softmax(-1)).numpy()  # (m, C)
    header = ["path", "fold" if task.folds is not None else "split", "label", "prediction"]
    header += [f"score {name}" for name in task.label_names] if many else ["score", "correct"]
    parts = task.folds if task.folds is not None else task.splits
    assert parts is not None, "a task has splits or folds"
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(header)
        for row, score in zip(probe.features.rows[probe.tested].tolist(), scores, strict=True):
            label = _text(task.labels[row], task.label_names)
            guess = _text(score >= 0.5, task.label_names) if many else task.label_names[int(score.argmax())]
            rest = (
                [f"{value:.6g}" for value in score] if many else [f"{score.max():.6g}", int(guess == label)]
            )
            writer.writerow([task.names[row], parts[row], label, guess, *rest])


def _text(label: NDArray, names: list[str]) -> str:
    """A class index, or a multi-hot row, as text."""
    chosen = [int(label)] if label.ndim == 0 else np.flatnonzero(label).tolist()
    return ";".join(names[i] for i in chosen)
