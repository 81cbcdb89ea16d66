"""Whether a training may start in a folder, and what a resumed one may change."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from atst.errors import UsageError
from atst.model.device import described
from atst.output.lock import is_new
from atst.training.launch import is_first_process


def check_folder(folder: Path, resume: bool) -> None:
    """Raises `UsageError` for a training that is to start in a folder with anything in it."""
    if not resume and is_first_process() and not is_new(folder):
        raise UsageError(
            f"--out {folder}: exists and is not an empty folder; use --resume to continue what is in it."
        )


def check_same(before: Mapping[str, Any], now: Mapping[str, Any], may_change: tuple[str, ...]) -> None:
    """Raises `UsageError` naming the settings in which a resumed training would differ from its start."""
    keys = [key for key in now if key not in may_change and before.get(key) != now[key]]
    if keys:
        changed = ", ".join(f"{key} ({before.get(key)} -> {now[key]})" for key in keys)
        raise UsageError(
            f"--resume cannot change {changed}; give the same options, or start a new one in another --out."
        )


def conditions(device: torch.device, devices: int) -> dict[str, Any]:
    """What must not change for a bit-exact resumption, besides recipe, data and model."""
    return {
        "devices": described(device, devices),
        "torch": str(torch.__version__),  # a class of its own, which safe loading refuses
        "threads": torch.get_num_threads(),
    }


def warn_of_changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Warn on stderr, in the first process, of conditions that have changed since the start."""
    for key, value in before.items():
        if now.get(key) != value and is_first_process():
            text = f"{key} changed from {value} to {now.get(key)}: the training goes on, but not bit for bit"
            print(f"warning: {text}", file=sys.stderr)
