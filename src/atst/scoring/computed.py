"""By what, where and with which command a result was computed, as every `results.json` says it."""

import platform
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy
import sklearn
import torch

from atst import __version__


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
