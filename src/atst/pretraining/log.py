"""The log of a run: metrics, TensorBoard events, unreadable clips, progress and warnings."""

import csv
import math
import os
import time
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path
from statistics import fmean
from typing import Any

import pytorch_lightning as lightning
import torch
import torch.distributed as dist
from torch.utils.tensorboard import SummaryWriter

from atst.errors import TrainingError
from atst.output import lock
from atst.output.atomic import write_text
from atst.output.progress import Display, Progress, clock
from atst.output.skipped import Skipped, append_errors, read_errors
from atst.output.text import writable
from atst.pretraining.flops import flops_per_clip
from atst.pretraining.health import Health
from atst.pretraining.module import RANK_EVERY
from atst.pretraining.recipe import Recipe
from atst.training.loader import worker_count
from atst.training.peak import matmul_peak, overload

COLUMNS = (
    "step", "loss", "output_std_student", "output_std_teacher", "rank_student", "rank_teacher", "padding",
    "differing", "learning_rate", "weight_decay", "ema", "clips_per_second",
    "share_of_peak", "watch",
)  # fmt: skip
ESTIMATE_SECONDS = 5.0  # of steps that an early estimate needs; it then comes within 10 s of the first step

Row = dict[str, Any]


class RunLog(lightning.Callback):
    """`metrics.csv` and TensorBoard with every step once, `errors.csv`, progress and warnings.

    Values stay on the device and are fetched every 20 steps; a loss that is not finite then stops the
    run. Of several processes only the first writes.
    """

    def __init__(self, folder: Path, recipe: Recipe, devices: int, first_step: int, writes: bool) -> None:
        self.folder, self.recipe, self.devices = folder, recipe, devices
        self.clips_per_step = recipe.batch_size * recipe.accumulate * devices
        self.total, self.writes = recipe.max_steps, writes
        self.peak = 0.0  # clips/s that the devices could do if a step were products of matrices alone
        self.health = Health()
        self.display = Display("pre-training", first_step)
        self.first, self.estimated = first_step, not writes
        self.rows: list[Row] = []
        self.unlisted: list[tuple[str, str]] = []  # unreadable clips of this process since the last flush
        self.newest = first_step  # step of the newest row that is written
        self.listed = dict(read_errors(folder))
        self.last = self.flushed = time.monotonic()
        self.started = False
        if writes:
            _keep_rows(folder / "metrics.csv", first_step)
            self.tensorboard = SummaryWriter(str(folder / "tensorboard"), purge_step=first_step)

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if self.writes:
            peak = self.devices * matmul_peak(self.recipe.precision, pl_module.device)
            self.peak = peak / flops_per_clip(self.recipe)
            self.display.__enter__()

    def on_train_batch_start(
        self, trainer: lightning.Trainer, pl_module: Any, batch: Any, batch_idx: int
    ) -> None:
        if not self.started:  # the start of the loader processes is not the speed of a step
            self.last = self.flushed = time.monotonic()
            self.started = True

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.unlisted += batch["errors"]
        if (batch_idx + 1) % trainer.accumulate_grad_batches:
            return
        step = trainer.global_step - 1
        now = time.monotonic()
        speed = self.clips_per_step / max(now - self.last, 1e-9)
        row: Row = {"step": step, **pl_module.statistics, **pl_module.values(step), "clips_per_second": speed}
        self.rows.append(row | ({"share_of_peak": speed / self.peak} if self.peak > 0 else {}))
        self.last = now
        if step % RANK_EVERY == 0:
            self.flush()
        elif not self.estimated and now - self.flushed >= ESTIMATE_SECONDS:
            self._estimate(self.rows)  # without the other processes: their clocks differ

    def flush(self) -> None:
        """Write the steps since the last flush: means over the processes, all of which call this together.

        Raises `TrainingError` when a loss was not finite.
        """
        own = [{key: float(value) for key, value in row.items()} for row in self.rows]
        processes = _gathered((own, self.unlisted))
        self.unlisted = []
        self.note(chain(*(unlisted for _, unlisted in processes)))
        for row, *of_all in zip(self.rows, *(rows for rows, _ in processes), strict=True):
            row.update(
                {key: fmean(each[key] for each in of_all if key in each) for key in row if key != "step"}
            )
            if not math.isfinite(row["loss"]):
                raise TrainingError(
                    f"the loss became {row['loss']} at step {row['step']}. Lower learning_rate, "
                    "lengthen warmup_steps or use precision=float32 in a new run; the newest checkpoint is "
                    "from before it."
                )
        rows, self.rows, self.flushed = self.rows, [], time.monotonic()
        if rows and self.writes:
            lock.check(self.folder)
            self._write(rows)

    def add_watch(self, value: float) -> None:
        """Complete the newest row, which is written already, by the value of the watched task."""
        if self.writes:
            with (self.folder / "metrics.csv").open("r+b") as file:
                file.seek(-1, os.SEEK_END)  # `watch` is the last column, empty so far
                file.write(f"{value:.6g}\n".encode())
            self.tensorboard.add_scalar("watch", value, self.newest)
            self.tensorboard.flush()

    def close(self) -> None:
        """End the progress display and the TensorBoard file."""
        if self.writes:
            self.display.__exit__()
            self.tensorboard.close()

    def _write(self, rows: list[Row]) -> None:
        for row in rows:
            warning = self.health.update(row["output_std_student"], row.get("rank_student"))
            if warning:
                self.display.warn(f"step {row['step']}: {warning}")
            for key, value in row.items():
                if key != "step":
                    self.tensorboard.add_scalar(key, value, row["step"])
        _append(self.folder / "metrics.csv", rows)
        self.newest = rows[-1]["step"]
        self._show(rows)
        self.tensorboard.flush()

    def _seconds(self, rows: list[Row]) -> float:
        return sum(self.clips_per_step / row["clips_per_second"] for row in rows)

    def _estimate(self, rows: list[Row]) -> None:
        """Say once, by the first steps or a long first one, what time is expected."""
        seconds = self._seconds(rows)
        if not self.estimated and (len(rows) > 1 or seconds >= ESTIMATE_SECONDS):
            expected = clock(seconds / len(rows) * (self.total - self.first))
            self.display.say(f"expected: {expected} in all, at the speed of the first steps")
            self.estimated = True

    def _show(self, rows: list[Row]) -> None:
        """Show how far the run is."""
        self._estimate(rows)
        seconds, last = self._seconds(rows), rows[-1]
        done = last["step"] + 1
        if self.display.due or done >= self.total:
            speed = len(rows) * self.clips_per_step / seconds
            losses = f"loss {last['loss']:.3f}, output std {last['output_std_student']:.4f}"
            share = f" ({speed / self.peak:.0%} of the peak)" if self.peak > 0 else ""
            text = f"step {done}/{self.total}, {losses}, {speed:.0f} clips/s{share}{self._overload()}"
            self.display.show(Progress(done, self.total, text))

    def _overload(self) -> str:
        threads = torch.get_num_threads() + worker_count(self.recipe.workers, self.devices)
        return overload(self.devices * threads)

    def note(self, errors: Iterable[Skipped]) -> None:
        """Append to `errors.csv` what it does not list yet."""
        found = {writable(clip): writable(reason) for clip, reason in errors}
        new = {clip: reason for clip, reason in found.items() if clip not in self.listed}
        self.listed |= new
        if new and self.writes:
            append_errors(self.folder, new.items())


def _gathered(mine: Any) -> list[Any]:
    """Of every process the same thing, in their order."""
    if not (dist.is_available() and dist.is_initialized()):
        return [mine]
    found: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(found, mine)
    return found


def _append(path: Path, rows: list[Row]) -> None:
    columns: Sequence[str] = COLUMNS
    if not (new := not path.exists()):
        with path.open(newline="") as file:
            columns = next(csv.reader(file), COLUMNS)  # those of the version that started the run
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, columns, restval="", extrasaction="ignore", lineterminator="\n")
        if new:
            writer.writeheader()
        for row in rows:
            writer.writerow({key: value if key == "step" else f"{value:.6g}" for key, value in row.items()})


def _keep_rows(path: Path, steps: int) -> None:
    """Drop the rows of `step >= steps`, which a resumed run does again, and a half-written last one."""
    if path.exists():
        header, *lines = path.read_text().splitlines(keepends=True) or [""]
        kept = [line for line in lines if line.endswith("\n") and int(line.split(",", 1)[0]) < steps]
        write_text(path, "".join([header, *kept]))
