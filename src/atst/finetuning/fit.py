"""One training of a fine-tuning: checkpoints, epochs, resumption, and the test at its end."""

import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import pytorch_lightning as lightning
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor

from atst.errors import AtstError
from atst.finetuning import data
from atst.finetuning.clips import Clips
from atst.finetuning.epochs import Epochs, History
from atst.finetuning.module import FinetuningModule, balancing_weights, predict
from atst.finetuning.network import Network
from atst.finetuning.recipe import Recipe
from atst.model.audio_model import AudioModel
from atst.output import tensors
from atst.output.atomic import new_file
from atst.scoring.splits import FewShot
from atst.tasks import Task
from atst.training import checkpoints, loop, schedules
from atst.training.launch import is_first_process
from atst.training.loader import Batches, BatchPositions
from atst.training.start import conditions

KEEP = 2  # checkpoints


@dataclass(frozen=True)
class Job:
    """What to fine-tune on what, where."""

    model: AudioModel
    task: Task
    clips: Clips
    recipe: Recipe
    folder: Path
    device: torch.device
    devices: int = 1
    few_shot: FewShot | None = None  # how many labels may be used, drawn by the recipe's seed

    @property
    def labels_used(self) -> str:
        """A description of the training clips."""
        return "all training clips" if self.few_shot is None else self.few_shot.description


@dataclass(frozen=True)
class Split:
    """The clips of one training. `epochs` ends it early on the same schedule; None: as the recipe says."""

    name: str  # of its folder
    train: NDArray[np.int64]
    valid: NDArray[np.int64]
    test: NDArray[np.int64]
    fold: int | None = None
    epochs: int | None = None


@dataclass
class Outcome:
    """The outcome of one training. Rows are indices of clips that could be read."""

    history: History
    epoch: int  # the one that was kept, from 1
    valid_rows: list[int]
    valid: Tensor  # logits (v, C)
    test_rows: list[int]
    test: Tensor  # logits (t, C)
    unreadable: dict[int, str] = field(default_factory=dict)  # index of a clip: why


@dataclass(frozen=True)
class Sizes:
    """How a training is divided into steps. A batch is never larger than the training set needs."""

    micro: int  # clips a device and micro-batch
    accumulate: int
    steps_per_epoch: int
    devices: int

    @property
    def batch(self) -> int:
        """Clips an optimiser step."""
        return self.micro * self.accumulate * self.devices


def sizes(recipe: Recipe, clips: int, devices: int) -> Sizes:
    """The sizes for so many training clips."""
    micro = min(recipe.batch_size // (recipe.accumulate * devices), max(2, clips))
    accumulate = min(recipe.accumulate, -(-clips // (micro * devices)))
    steps = max(-(-clips // (micro * accumulate * devices)), recipe.epoch_steps)
    return Sizes(micro, accumulate, steps, devices)


def fit(job: Job, split: Split, resume: bool) -> Outcome | None:
    """Train on a split, keep the last or best epoch, test it once; None if it was stopped.

    A finished training is read back. Of several processes only the first tests. The network that was kept is
    `network.safetensors` in the training's folder. Raises `AtstError`, and keeps the checkpoint, when no test
    clip can be read.
    """
    folder = job.folder / "training" / split.name
    if (folder / "outcome.pt").is_file():
        stored = torch.load(folder / "outcome.pt", weights_only=True)
        done = Outcome(**stored | {"history": History(**stored["history"])})
        job.clips.unreadable |= done.unreadable
        return done
    folder.mkdir(parents=True, exist_ok=True)
    network = Network(job.model, len(job.task.label_names), job.recipe)
    history = _train(job, split, network, folder, resume)
    if history is None:
        return None
    epoch = history.best_epoch if job.recipe.select == "best" and len(split.valid) else len(history.rows)
    nothing = torch.zeros(0, len(job.task.label_names))
    if not is_first_process():
        return Outcome(history, epoch, [], nothing, [], nothing)
    if epoch != len(history.rows):
        network.load_state_dict(load_file(folder / "best.safetensors"))
    network.to(job.device)
    valid, valid_rows = predict(network, job.clips, split.valid.tolist())
    test, test_rows = predict(network, job.clips, split.test.tolist())
    if len(split.test) and not test_rows:  # nothing is saved, so that a resumed one tests again
        first = job.clips.unreadable[int(split.test[0])]
        raise AtstError(
            f"task {job.task.name}: no test clip can be read, the first: {first}; repair the files, and the "
            "same command with --resume tests what was trained."
        )
    outcome = Outcome(history, epoch, valid_rows, valid, test_rows, test, dict(job.clips.unreadable))
    network.save(folder / "network.safetensors")
    with new_file(folder / "outcome.pt") as path:
        tensors.save(asdict(outcome), path)
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    (folder / "best.safetensors").unlink(missing_ok=True)
    return outcome


def _train(job: Job, split: Split, network: Network, folder: Path, resume: bool) -> History | None:
    """Train `network`, or continue from its newest checkpoint; None if a signal stopped it."""
    size = sizes(job.recipe, len(split.train), job.devices)
    total = size.steps_per_epoch * (split.epochs or job.recipe.max_epochs)
    module = _module(job, split, network, size)
    checkpoint, history, done = None, History(), 0
    if resume:
        checkpoint, state = checkpoints.to_resume(folder, conditions(job.device, job.devices))
        history, done = History(**state.get("history", {})), state["step"]
        module.loss_sum.fill_(state.get("loss_sum", 0.0))
    if checkpoint is not None and (done >= total or history.finished):  # stopped between training and test
        weights = torch.load(checkpoint, map_location="cpu", weights_only=True)["state_dict"]
        module.load_state_dict(weights)
        return history
    saver = _saver(job, history, folder, size)
    steps = size.steps_per_epoch
    epochs = Epochs(job.task, job.clips, split.valid, job.recipe, steps, total, folder, history, saver, done)
    stream = data.Stream(job.clips, job.task.labels, split.train, job.recipe, steps * size.batch)

    def batches(rank: int) -> Batches:
        start = BatchPositions(size.micro, done * size.accumulate, rank, job.devices)
        return Batches(stream, start, job.recipe.workers, data.collate, saver.fail)

    with epochs.display:
        trained = loop.fit(
            module,
            batches,
            [epochs, saver],
            job.device,
            job.devices,
            precision=job.recipe.precision,
            accumulate=size.accumulate,
            max_steps=total,
            checkpoint=checkpoint,
        )
    saver.raise_failure(trained)
    return history if history.finished or trained >= total else None


def _saver(job: Job, history: History, folder: Path, size: Sizes) -> checkpoints.Checkpoints:
    def save(trainer: lightning.Trainer, module: FinetuningModule) -> None:
        module.checkpoint_extra = {
            "step": trainer.global_step,
            "conditions": conditions(job.device, job.devices),
            "history": asdict(history),
            "loss_sum": module.mean_loss_sum(),
        }
        checkpoints.write(trainer, folder / "checkpoints", KEEP)

    return checkpoints.Checkpoints(save, size.steps_per_epoch, job.recipe.checkpoint_minutes)


def _module(job: Job, split: Split, network: Network, size: Sizes) -> FinetuningModule:
    recipe = job.recipe
    peak = schedules.scaled_learning_rate(recipe.learning_rate, size.batch)
    steps = size.steps_per_epoch
    learning_rates = schedules.learning_rate(peak, recipe.max_epochs * steps, recipe.warmup_epochs * steps)
    weights = None
    if recipe.class_weights:
        weights = balancing_weights(torch.from_numpy(job.task.class_counts(split.train)).float())
    bce = job.task.multi_label or recipe.loss == "bce"
    return FinetuningModule(network, recipe, learning_rates, bce, weights)
