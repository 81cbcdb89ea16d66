"""The precision of a training: float32 or bfloat16, as asked or whichever is faster."""

import statistics
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import torch
import yaml

from atst.errors import TrainingError
from atst.model.matmul import fast_products
from atst.training.launch import is_first_process
from atst.training.recipe import RECIPE

AUTO, FLOAT32, BF16 = PRECISIONS = ("auto", "float32", "bf16")
DTYPES = {FLOAT32: torch.float32, BF16: torch.bfloat16}
WORTH_IT = 1.3  # `auto` takes bfloat16 if it is so many times as fast: less is not worth rounding errors
SLOW = 4.0  # a run warns if its precision is this many times slower than the other
TIMINGS = 5
MOST_WAIT = 600.0  # s that a process waits for the first one's decision

Settings = TypeVar("Settings", bound=Any)  # a recipe, of either training


def settle(recipe: Settings, width: int, device: torch.device, folder: Path, resumed: bool) -> Settings:
    """The recipe with its precision decided, for an encoder of this width on the training device.

    The first of several processes decides; the others wait for its answer in the run's recipe.yaml. A
    precision that is already decided stays; a line on stderr warns if it is slow here. Raises
    `TrainingError` if no answer comes.
    """
    if recipe.precision == AUTO:
        return replace(recipe, precision=_decide(width, device) if is_first_process() else _answer(folder))
    if is_first_process() and (resumed or recipe.precision == BF16):
        _warn_if_slow(recipe.precision, width, device)
    return recipe


def seconds(precision: str, width: int, device: torch.device) -> float:
    """Median time of a matrix product of the encoder's own shape: a block's MLP on the tokens of a batch."""
    rows = (1024 if device.type == "cpu" else 16384) * 128 // width  # a GPU's launches cost more than few
    left, right = (
        torch.ones(shape, dtype=DTYPES[precision], device=device)
        for shape in ((rows, width), (width, 4 * width))
    )
    taken = []
    for _ in range(1 + TIMINGS):
        finish(device)
        start = time.perf_counter()
        with fast_products(device):
            left @ right
        finish(device)
        taken.append(time.perf_counter() - start)
    return statistics.median(taken[1:])  # the first one also chooses and loads the kernel


def _decide(width: int, device: torch.device) -> str:
    return BF16 if _times(FLOAT32, BF16, width, device) >= WORTH_IT else FLOAT32


def _times(precision: str, other: str, width: int, device: torch.device) -> float:
    """How many times as long as `other` a precision takes; 0 on an accelerator without bfloat16."""
    try:
        return seconds(precision, width, device) / seconds(other, width, device)
    except (RuntimeError, TypeError):
        return 0.0


def _answer(folder: Path) -> str:
    path = folder / RECIPE
    end = time.monotonic() + MOST_WAIT
    while time.monotonic() < end:
        if path.is_file() and (word := yaml.safe_load(path.read_text()).get("precision")) in DTYPES:
            return str(word)
        time.sleep(0.2)
    raise TrainingError(f"{path}: the first process has not written it for {MOST_WAIT:.0f} s.")


def _warn_if_slow(precision: str, width: int, device: torch.device) -> None:
    other = FLOAT32 if precision == BF16 else BF16
    slower = _times(precision, other, width, device)
    if slower >= SLOW:
        text = (
            f"on this machine {precision} is {slower:.0f} times slower than {other}. A run keeps its "
            f"precision; a new one with --set precision={other} is faster"
        )
        print(f"warning: {text}", file=sys.stderr, flush=True)


def finish(device: torch.device) -> None:
    """Wait for what an accelerator still computes."""
    if device.type != "cpu":
        torch.accelerator.synchronize()
