"""What a probe leaves in its `--out` folder."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from atst.evaluation.measured import Probe
from atst.evaluation.report import probe_report
from atst.model import classifier
from atst.output.atomic import new_file
from atst.output.skipped import with_partial, write_errors
from atst.scoring.per_class import write_predictions


def write_probe(probe: Probe, model: Any, folder: str | Path, *, brief: bool = False) -> None:
    """Write `model/`, `predictions.csv`, `results.json` and last `report.html`; each whole or not at all.

    `brief` leaves out `model/`, and the report's map of the embeddings, which takes longer than a probe.

    A picture that cannot be drawn costs no result. Numbers and report of an earlier probe go first, so that
    none stand beside the model of this one when it is interrupted.
    """
    folder = Path(folder)
    for name in ("report.html", "results.json"):
        (folder / name).unlink(missing_ok=True)
    if not brief:
        write_classifier(probe, model, folder / "model")
    tested = probe.features.rows[probe.tested]
    write_predictions(probe.task, tested, probe.calibrated, folder / "predictions.csv")
    with new_file(folder / "results.json") as temporary:  # whoever finds it takes all numbers to be there
        temporary.write_text(json.dumps(asdict(probe.result), indent=2) + "\n")
    write_errors(folder, with_partial(probe.result.skipped, probe.result.partial))
    probe_report(probe, folder / "report.html", brief)


def write_classifier(probe: Probe, model: Any, folder: str | Path) -> None:
    """Write what `load_classifier` reads."""
    head = {"weight": probe.head.weight, "bias": probe.head.bias}
    for i, (weight, bias) in enumerate(probe.head.hidden):
        head |= {f"hidden.{i}.weight": weight, f"hidden.{i}.bias": bias}
    about = {
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
    classifier.write(folder, model, head, about)
