"""When a run saves, what it saves, and what it resumes from."""

import math
import shutil
import signal
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pytorch_lightning as lightning
import torch
from pytorch_lightning.plugins.io import TorchCheckpointIO

from atst.errors import TrainingError
from atst.output import tensors
from atst.output.atomic import new_file
from atst.output.version import KEY, check_version
from atst.training import signals
from atst.training.sharding import own
from atst.training.start import warn_of_changes

Save = Callable[[lightning.Trainer, Any], None]  # with the module that is trained
Value = TypeVar("Value")

FORMAT_VERSION = 1  # of what a checkpoint holds besides Lightning's own


class Checkpoints(lightning.Callback):
    """Calls `save` every so many steps or minutes, at the end, and on a signal, which stops the training.

    `measure`, which may take long, is called after `save`, but not when the training is to stop.
    """

    def __init__(self, save: Save, steps: int, minutes: float, measure: Save | None = None) -> None:
        self.save, self.steps, self.minutes, self.measure = save, steps, minutes, measure
        self.last_time = time.monotonic()
        self.last_step = -1
        self.stopped = False
        self.failure: str | None = None  # what else stopped it
        self.in_the_way = False  # `measure` is running, which can be given up
        self.speaks = True  # only the first process prints

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self.speaks = trainer.is_global_zero
        self.last_time = time.monotonic()
        self.last_step = trainer.global_step
        signals.install(signals.handler(self._stop))

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        step = trainer.global_step
        if (batch_idx + 1) % trainer.accumulate_grad_batches or step == self.last_step:
            return
        stop = self.stopped  # once: a signal from here on is for the next step
        by_steps = self.steps > 0 and step % self.steps == 0
        by_time = self.minutes > 0 and time.monotonic() - self.last_time > 60 * self.minutes
        due = by_steps or by_time or step >= trainer.max_steps
        if trainer.world_size > 1:  # clocks and signals differ between processes
            due = trainer.strategy.reduce_boolean_decision(due, all=False)
            stop = trainer.strategy.reduce_boolean_decision(stop, all=False)
        if due or stop:
            self.save(trainer, pl_module)
            self.last_time, self.last_step = time.monotonic(), step
            if self.measure is not None:
                self.unless_stopped(partial(self.measure, trainer, pl_module))
        self.stopped = self.stopped or stop
        trainer.should_stop = trainer.should_stop or stop

    def unless_stopped(self, measure: Callable[[], Value]) -> Value | None:
        """The result of `measure`; None if a signal came, since batch systems kill seconds later."""
        self.in_the_way = True
        try:
            return None if self.stopped else measure()
        except KeyboardInterrupt:
            return None
        finally:
            self.in_the_way = False

    def fail(self, failure: str) -> None:
        """Save and stop after this step, as on a signal, because of a failure."""
        self.failure, self.stopped = failure, True

    def raise_failure(self, step: int) -> None:
        """Raises `TrainingError` if the training was stopped by a failure, saved at `step`."""
        if self.failure is not None:
            raise TrainingError(
                f"{self.failure} Saved at step {step}; the same command with --resume continues."
            )

    def _stop(self, number: int) -> None:
        if self.stopped and number != signal.SIGINT:  # batch systems repeat signals; saving continues
            return
        if self.stopped:
            signals.stop(number)
        self.stopped = True
        if self.speaks:
            again = "; once more to stop at once" if number == signal.SIGINT else ""
            print(f"\nstopping after this step and saving{again}", file=sys.stderr, flush=True)
        if self.in_the_way:
            signals.stop(number)


def write(trainer: lightning.Trainer, folder: Path, keep: int) -> None:
    """Save the trainer's state under `folder` atomically, then remove all but the `keep` newest.

    To be called in every process, since gathering the state takes all of them; the first writes it. Raises
    `TrainingError`, and saves nothing, where weights or the optimizer's state are not finite.
    """
    _check_finite(trainer)
    path = folder / f"step-{trainer.global_step:08d}.ckpt"
    if not trainer.is_global_zero:
        trainer.save_checkpoint(path, weights_only=False)
        return
    with new_file(path) as temporary:
        trainer.save_checkpoint(temporary, weights_only=False)  # with the optimiser's state
    prune(folder, keep)


class CheckpointFile(TorchCheckpointIO):
    """Writes a checkpoint where it is asked to.

    Lightning's own collects it in memory, then in the system's folder for temporary files, where a killed
    run would leave it.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        tensors.save(checkpoint, Path(path))


def prune(folder: Path, keep: int) -> None:
    """Remove all checkpoints in `folder` but the `keep` newest."""
    for old in sorted(folder.glob("step-*.ckpt"))[:-keep]:
        old.unlink()


def _check_finite(trainer: lightning.Trainer) -> None:
    """A gradient can overflow where the loss does not; the loss of the next step would show it too late."""
    states = [state for optimizer in trainer.optimizers for state in optimizer.state.values()]
    values = [value for state in [trainer.lightning_module.state_dict(), *states] for value in state.values()]
    parts = [own(value) for value in values if isinstance(value, torch.Tensor)]
    numbers = [part for part in parts if part.is_floating_point() and part.numel()]
    largest = torch.nn.utils.get_total_norm(numbers, math.inf)
    if trainer.strategy.reduce_boolean_decision(not math.isfinite(largest), all=False):
        raise TrainingError(
            f"weights or the optimizer's state are not finite after step {trainer.global_step - 1}, though "
            "the loss was: a gradient overflowed. Lower learning_rate, lengthen warmup_steps or train in "
            "float32 in a new run; the newest checkpoint is from before it."
        )


def newest(folder: Path) -> Path | None:
    """The checkpoint with the most steps in a run folder; only complete ones bear this name."""
    return max((folder / "checkpoints").glob("step-*.ckpt"), default=None)


def to_resume(folder: Path, conditions: Mapping[str, Any]) -> tuple[Path | None, dict[str, Any]]:
    """The newest checkpoint and its state; None and `{"step": 0}` if there is none.

    Warns of conditions that have changed since it was written. Raises `TrainingError` for a damaged file.
    """
    checkpoint = newest(folder)
    if checkpoint is None:
        return None, {"step": 0}
    state = read_state(checkpoint)
    warn_of_changes(state["conditions"], conditions)
    return checkpoint, state


def read_state(checkpoint: Path) -> dict[str, Any]:
    """The module's `checkpoint_extra` when it was saved.

    Raises `TrainingError` for a damaged file, or one of a later version.
    """
    try:
        state = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)["atst"]
        state = {**state, "step": int(state["step"]), "conditions": dict(state["conditions"])}
    except Exception as error:  # a damaged file can raise anything
        raise TrainingError(
            f"{checkpoint}: cannot be read ({type(error).__name__}); remove it to resume from the one before."
        ) from None
    check_version(state.get(KEY), FORMAT_VERSION, checkpoint, TrainingError)
    return state


def check_disk(folder: Path, module: torch.nn.Module, keep: int) -> None:
    """Raises `TrainingError` if there is no room for a run's checkpoints, counting those it has.

    Each holds all weights, and two moments of the trained ones, in float32. While saving there is one more.
    """
    numbers = sum(weight.numel() * (3 if weight.requires_grad else 1) for weight in module.parameters())
    has = sum(path.stat().st_size for path in (folder / "checkpoints").glob("step-*.ckpt"))
    needed, free = numbers * 4 * (keep + 1) - has, shutil.disk_usage(_existing(folder)).free
    if free < needed:
        raise TrainingError(
            f"{folder}: the run needs {needed / 1e9:.1f} GB of disk; {free / 1e9:.1f} are free. Lower "
            "keep_checkpoints, or free some."
        )


def _existing(folder: Path) -> Path:
    """The folder, or the nearest parent that exists."""
    folder = folder.absolute()
    return next(path for path in (folder, *folder.parents) if path.exists())
