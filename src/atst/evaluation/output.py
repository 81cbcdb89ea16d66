"""What a probe leaves in its `--out` folder."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors.torch import save as as_safetensors

from atst.evaluation.measured import Probe
from atst.evaluation.report import probe_report
from atst.output.atomic import new_file, new_folder
from atst.scoring.per_class import write_predictions


def write_probe(probe: Probe, model: Any, folder: str | Path) -> None:
    """Write `model/`, `predictions.csv`, `results.json` and last `report.html`; each whole or not at all.

    A picture that cannot be drawn costs no result.
    """
    folder = Path(folder)
    write_classifier(probe, model, folder / "model")
    tested = probe.features.rows[probe.tested]
    write_predictions(probe.task, tested, probe.calibrated, folder / "predictions.csv")
    with new_file(folder / "results.json") as temporary:  # whoever finds it takes all numbers to be there
        temporary.write_text(json.dumps(asdict(probe.result), indent=2) + "\n")
    probe_report(probe, folder / "report.html")


def write_classifier(probe: Probe, model: Any, folder: str | Path) -> None:
    """Write the encoder, `head.safetensors` (weight (C, D), bias (C,)) and `labels.json`.

    Logits are features @ weight.T + bias, and scores those of logits / temperature; `labels.json` says how
    the features are made. Hidden layers, `hidden.0.weight` (H, D), `hidden.0.bias` (H,) and so on, are
    applied to the features first, each as relu(x @ weight.T + bias). BatchNorm is part of the weights.
    Baselines have no files of their own; their name says it all.
    """
    with new_folder(folder) as temporary:
        if hasattr(model, "save"):
            model.save(temporary)
        head = {"weight": probe.head.weight, "bias": probe.head.bias}
        for i, (weight, bias) in enumerate(probe.head.hidden):
            head |= {f"hidden.{i}.weight": weight, f"hidden.{i}.bias": bias}
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
