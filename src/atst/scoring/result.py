"""What every `results.json` holds, and what classifiers and reports take of it."""

import platform
import shlex
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy
import sklearn
import torch

from atst import __version__
from atst.model.classifier import Classifier, Head
from atst.model.embedder import Embedder
from atst.output.html import Section, Table
from atst.tasks import Task


@dataclass(kw_only=True)
class Computed:
    """The fields that all results share."""

    device: str  # number, kind and name
    precision: str  # of the training; tests are in float32
    versions: dict[str, str]
    command: str = ""  # of the process that measured

    @property
    def computed_on(self) -> str:
        """Device, precision and versions, for reports."""
        return ", ".join([self.device, self.precision, *(" ".join(pair) for pair in self.versions.items())])


@dataclass(kw_only=True)
class Result(Computed):
    """The numbers of a probe or a fine-tuning; metrics are in 0..1."""

    task: str
    model: str
    protocol: str
    pooling: str
    layers: int
    metric: str
    value: float  # on the test clips; with folds the mean over them
    ci: tuple[float, float]  # 95% interval
    seed: int
    selected_on: str  # description of the validation clips
    calibration: dict[str, float]  # temperature; expected calibration error of test clips before and after it
    trained_on: str = "all training clips"  # or the number of labels
    clips: int
    skipped: list[tuple[str, str]]  # (clip, reason)
    warnings: list[str]
    fingerprint: str  # of the model
    task_fingerprint: str
    settings: dict[str, Any]
    partial: list[tuple[str, str]] = field(default_factory=list)  # (clip, what is missing) of those cut short

    def as_classifier(self, encoder: Embedder, head: Head, task: Task) -> Classifier:
        """The classifier of the head that is kept."""
        clip_seconds = self.settings["clip_seconds"]
        features = {"layers": self.layers, "pooling": self.pooling, "clip_seconds": clip_seconds}
        temperature = self.calibration["temperature"]
        return Classifier(encoder, head, task.label_names, task.multi_label, features, temperature)

    def last_sections(self, task: Task, rows: dict[str, str]) -> list[Section]:
        """Of the report: the settings, with `rows` of the protocol's own, and what was skipped."""
        settings = {
            "task": f"{self.task}. {task.about}".strip(". "),
            "model": f"{self.model} ({self.fingerprint})",
            **rows,
            "seed": str(self.seed),
            "computed on": self.computed_on,
            **{key: f"{value:.4g}" for key, value in self.calibration.items()},
            **{key: str(value) for key, value in self.settings.items()},
        }
        table = Table(["", ""], [[key.replace("_", " "), value] for key, value in settings.items()])
        skipped = Section("Skipped clips", [Table(["clip", "reason"], self.skipped)])
        return [Section("Settings", [table]), *([skipped] if self.skipped else [])]


def computed(device: str, precision: str) -> dict[str, Any]:
    """The values of `Computed` in this process."""
    versions = {
        "atst": __version__,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "numpy": numpy.__version__,
        "scikit-learn": sklearn.__version__,
    }
    return {"device": device, "precision": precision, "versions": versions, "command": command()}


def command() -> str:
    """The command line of this process; `atst` where the command was started as a module or a script."""
    program = Path(sys.argv[0]).name if sys.argv and sys.argv[0] else "python"
    return shlex.join(["atst" if program == "__main__.py" else program, *sys.argv[1:]])
