"""What every `results.json` holds of a probe or a fine-tuning, and what a classifier takes of it."""

import json
import math
import platform
import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import sklearn
import torch
from numpy.typing import NDArray
from torch import Tensor

from atst import __version__
from atst.errors import UsageError
from atst.model.classifier import Classifier, Head
from atst.model.embedder import Embedder
from atst.output.atomic import write_text
from atst.output.skipped import with_partial, write_errors
from atst.output.version import KEY, check_version
from atst.scoring.calibration import expected_calibration_error
from atst.scoring.clips import task_fingerprint
from atst.scoring.metrics import BOOTSTRAP, over_folds
from atst.scoring.per_class import write_predictions
from atst.tasks import Task

RESULTS = "results.json"
FORMAT_VERSION = 1  # of it


@dataclass
class Selection:
    """What validation selected for one classifier, and how that did on its test clips."""

    fold: int | None
    learning_rate: float  # for 256 clips a step
    epoch: int  # that is kept, from 1
    epochs: int  # that were trained
    valid: float | None  # the metric on the validation clips; None if there were none
    clips: dict[str, int] = field(default_factory=dict)  # in train, valid and test
    value: float = math.nan  # the metric on the test clips
    temperature: float = 1.0  # of a probe, fitted on the validation clips; 1 if there were none
    hidden: int = 0  # layers before the linear one
    init: str = ""  # of their weights


@dataclass(kw_only=True)
class Result:
    """The numbers of a probe or a fine-tuning; metrics are in 0..1."""

    task: str
    model: str
    protocol: str
    pooling: str
    layers: int
    metric: str
    value: float  # on the test clips; with folds the mean over them
    ci: tuple[float, float]  # 95% interval
    ci_over: str  # what the interval is over
    seed: int
    selected: list[Selection]  # one for each fold
    selected_on: str  # description of the validation clips
    calibration: dict[str, float]  # temperature; expected calibration error of test clips before and after it
    trained_on: str = "all training clips"  # or the number of labels
    clips: int
    skipped: list[tuple[str, str]]  # (clip, reason)
    partial: list[tuple[str, str]]  # (clip, what is missing) of those cut short
    warnings: list[str]
    fingerprint: str  # of the model
    task_fingerprint: str
    settings: dict[str, Any]
    device: str  # number, kind and name
    precision: str  # of the training; tests are in float32
    versions: dict[str, str]
    command: str  # of the process that measured
    format_version: int = FORMAT_VERSION
    levels: str | None = None  # of the encoder, that were read; None: the last `layers` blocks

    def as_classifier(self, encoder: Embedder, head: Head, task: Task) -> Classifier:
        """The classifier of the head that is kept."""
        clip_seconds = self.settings["clip_seconds"]
        features = {"layers": self.layers, "pooling": self.pooling, "clip_seconds": clip_seconds}
        if self.levels is not None:
            features["levels"] = self.levels
        temperature = self.calibration["temperature"]
        return Classifier(encoder, head, task.label_names, task.multi_label, features, temperature)


@dataclass
class Tested:
    """The test clips of all folds, one fold after the other, and the classifiers' answers."""

    task: Task
    rows: NDArray[np.int64]  # (m,) indices in the task
    logits: Tensor  # (m, C)
    calibrated: Tensor  # (m, C) divided by the temperature
    counts: list[int]  # of clips in each fold

    def numbers(self, selected: Sequence[Selection], seed: int) -> dict[str, Any]:
        """The fields of a `Result` that come from the test clips; sets each selection's `value`."""
        metric, truth = self.task.metric, torch.from_numpy(self.task.labels[self.rows])
        values, value, ci = over_folds(metric, self.logits.split(self.counts), truth.split(self.counts), seed)
        for selection, of_fold in zip(selected, values, strict=True):
            selection.value = of_fold
        return {
            "metric": metric,
            "value": value,
            "ci": ci,
            "ci_over": BOOTSTRAP[metric],
            "seed": seed,
            "selected": list(selected),
        }

    def calibration(self, temperature: float) -> dict[str, float]:
        """The error of the scores before and after calibration, and the temperature that is kept."""
        truth = torch.from_numpy(self.task.labels[self.rows])
        return {
            "temperature": temperature,
            "expected_calibration_error_before": expected_calibration_error(self.logits, truth),
            "expected_calibration_error_after": expected_calibration_error(self.calibrated, truth),
        }

    def write(self, result: Result, folder: Path) -> None:
        """Write `predictions.csv`, then `results.json` and `errors.csv`."""
        write_predictions(self.task, self.rows, self.calibrated, folder / "predictions.csv")
        # its existence says that all numbers are there
        write_text(folder / RESULTS, json.dumps(asdict(result), indent=2) + "\n")
        write_errors(folder, with_partial(result.skipped, result.partial))


def read_results(folder: Path) -> dict[str, Any] | None:
    """The `results.json` in a folder; None where there is none or it is damaged.

    Raises `UsageError` for one that a later release wrote.
    """
    try:
        values = json.loads((folder / RESULTS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(values, dict):
        return None
    check_version(values.get(KEY), FORMAT_VERSION, folder / RESULTS, UsageError)
    return values


def origins(task: Task, model: Embedder, skipped: dict[int, str], partial: dict[int, str]) -> dict[str, Any]:
    """The fields of a `Result` that say what was measured: model and task, without unreadable clips."""
    return {
        "task": task.name,
        "model": model.name,
        "fingerprint": model.fingerprint,
        "task_fingerprint": task_fingerprint(task),
        "clips": len(task) - len(skipped),
        "skipped": [(task.title(index), task.reason(index, skipped[index])) for index in sorted(skipped)],
        "partial": [(task.title(index), partial[index]) for index in sorted(partial)],
    }


def computed(device: str, precision: str) -> dict[str, Any]:
    """The fields of a `Result` that say how this process computes."""
    versions = {
        "atst": __version__,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "numpy": np.__version__,
        "scikit-learn": sklearn.__version__,
    }
    return {"device": device, "precision": precision, "versions": versions, "command": command()}


def command() -> str:
    """The command line of this process; `atst` where the command was started as a module or a script."""
    program = Path(sys.argv[0]).name if sys.argv and sys.argv[0] else "python"
    return shlex.join(["atst" if program == "__main__.py" else program, *sys.argv[1:]])
