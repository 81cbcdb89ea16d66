"""What happens at the end of each epoch: validation, the best one kept, early stop, a line for the user."""

import math
import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as lightning
import torch
from numpy.typing import NDArray

from atst.errors import TrainingError
from atst.finetuning import data
from atst.finetuning.clips import Clips
from atst.finetuning.module import FinetuningModule, clip_losses, predict
from atst.finetuning.recipe import Recipe
from atst.output.atomic import write_csv
from atst.output.progress import Display, Progress
from atst.scoring.metrics import score
from atst.tasks import Task
from atst.training.checkpoints import Checkpoints
from atst.training.launch import is_first_process

COLUMNS = ("epoch", "train_loss", "valid_loss", "valid", "learning_rate", "clips_per_second")


@dataclass
class History:
    """The results of the epochs so far; saved in checkpoints."""

    rows: list[dict[str, float]] = field(default_factory=list)  # one an epoch, keys as COLUMNS
    best_epoch: int = 0  # from 1; by validation metric, equal ones by validation loss
    finished: bool = False  # stopped early

    def better(self, row: dict[str, float]) -> bool:
        """Whether an epoch is better than the best so far."""
        return self.best_epoch == 0 or _merit(row) > _merit(self.rows[self.best_epoch - 1])


class Epochs(lightning.Callback):
    """Fills a `History` and `metrics.csv`; an epoch is `steps` of `total` steps, `first` are done."""

    def __init__(
        self,
        task: Task,
        clips: Clips,
        valid: NDArray[np.int64],
        recipe: Recipe,
        steps: int,
        total: int,
        folder: Path,
        history: History,
        saver: Checkpoints,
        first: int,
    ) -> None:
        self.task, self.clips, self.valid = task, clips, valid
        self.recipe, self.steps, self.total = recipe, steps, total
        self.folder, self.history, self.saver = folder, history, saver
        self.display = Display(folder.name, first)
        self.epoch_begin = time.monotonic()
        self.last = first

    def on_train_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        self.epoch_begin = time.monotonic()
        if self.last and self.last % self.steps == 0 and len(self.history.rows) < self.last // self.steps:
            self._end_epoch(trainer, pl_module, None)

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.clips.unreadable |= batch["unreadable"]
        self.clips.partial |= batch["partial"]
        step = trainer.global_step
        if step == self.last:
            return
        self.last = step
        if step % self.steps == 0:
            self._end_epoch(trainer, pl_module, len(batch["labels"]))
        elif self.display.due:
            self._show(step, f"epoch {step / self.steps:.2f}/{self.total // self.steps}")

    def _end_epoch(self, trainer: lightning.Trainer, module: FinetuningModule, micro: int | None) -> None:
        """Add a row to the history, unless a signal interrupts the validation; the resumed run does.

        A resumed training does not know how long the epoch took, nor its micro-batch (None).
        """
        done = self.history.rows
        batches = self.steps * trainer.accumulate_grad_batches
        seconds = max(time.monotonic() - self.epoch_begin, 1e-9)
        row = {
            "epoch": len(done) + 1,
            "train_loss": module.mean_loss_sum() / batches,
            "learning_rate": float(module.learning_rates[trainer.global_step - 1]),
        }
        if micro is not None:
            row["clips_per_second"] = micro * batches * trainer.world_size / seconds
        measured: dict[str, float] | None = {}
        last = trainer.global_step >= self.total  # nothing would measure it later
        due = row["epoch"] % self.recipe.validate_epochs == 0 or last
        if len(self.valid) and due and trainer.is_global_zero:
            measured = (
                self._validate(module) if last else self.saver.unless_stopped(partial(self._validate, module))
            )
        measured = trainer.strategy.broadcast(measured)  # one process validates
        if measured is None:
            return
        row |= measured
        module.loss_sum.zero_()
        if not math.isfinite(row["train_loss"]):
            raise TrainingError(
                f"the loss became {row['train_loss']} in epoch {row['epoch']}. "
                "Lower learning_rate, lengthen warmup_epochs or use precision=float32."
            )
        better = "valid" in row and self.history.better(row)
        done.append(row)
        if better:
            self.history.best_epoch = len(done)
            self._keep(module)
        since = len(done) - self.history.best_epoch
        if self.recipe.select == "best" and len(self.valid) and 0 < self.recipe.patience <= since:
            self.history.finished = trainer.should_stop = True
        self._write()
        self._tell(row, trainer.global_step)
        self.epoch_begin = time.monotonic()

    def _validate(self, module: FinetuningModule) -> dict[str, float]:
        with torch.autocast(module.device.type, enabled=False):
            logits, rows = predict(module.network, self.clips, self.valid.tolist())
        labels = self.task.labels[rows]
        hot = data.one_hot(labels, len(self.task.label_names))
        value = float(score(self.task.metric, logits, torch.from_numpy(labels)))
        return {"valid": value, "valid_loss": float(clip_losses(logits, hot, module.bce).mean())}

    def _keep(self, module: FinetuningModule) -> None:
        """Write the best network; needed only where the best is what is tested."""
        if self.recipe.select == "best" and is_first_process():
            module.network.save(self.folder / "best.safetensors")

    def _write(self) -> None:
        if is_first_process():
            rows = self.history.rows
            cells = ([f"{row[key]:.6g}" if key in row else "" for key in COLUMNS] for row in rows)
            write_csv(self.folder / "metrics.csv", COLUMNS, cells)

    def _tell(self, row: dict[str, float], step: int) -> None:
        if self.history.finished or step >= self.total or self.display.due:
            text = f"epoch {row['epoch']}/{self.total // self.steps}, loss {row['train_loss']:.4f}"
            if "valid" in row:
                text += f", validation {self.task.metric} {row['valid']:.3f}"
            if self.history.finished:
                text += f", stopped: no better one since epoch {self.history.best_epoch}"
            self._show(step, text)

    def _show(self, step: int, text: str) -> None:
        if is_first_process():
            self.display.show(Progress(step, step if self.history.finished else self.total, text))


def _merit(row: dict[str, float]) -> tuple[float, float]:
    value, loss = row["valid"], row["valid_loss"]
    return (value if math.isfinite(value) else -1.0, -loss if math.isfinite(loss) else -math.inf)
