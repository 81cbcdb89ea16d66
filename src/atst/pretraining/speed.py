"""Measures how long a training step takes on this machine, before a run is started."""

import time
from typing import Any

import pytorch_lightning as lightning
import torch

from atst.corpus import Corpus
from atst.pretraining import data
from atst.pretraining.module import PretrainingModule
from atst.pretraining.recipe import Recipe
from atst.training.loader import BatchPositions
from atst.training.loop import fit

SECONDS = 4.0  # of steps at least, and two of them: the first also chooses kernels and starts the loader
MOST_STEPS = 100


def seconds_a_step(recipe: Recipe, corpus: Corpus, device: torch.device) -> float:
    """Mean time of a training step with its loading, from a few steps whose result is thrown away."""
    clock = _Clock()
    dataset = data.PairDataset(corpus, recipe, logmel=device.type == "cpu")
    fit(
        PretrainingModule(recipe),
        lambda _: data.loader(dataset, BatchPositions(recipe.batch_size), recipe.workers),
        [clock],
        device,
        precision=recipe.precision,
        accumulate=recipe.accumulate,
        max_steps=MOST_STEPS,
    )
    return (clock.ends[-1] - clock.ends[0]) / (len(clock.ends) - 1)


class _Clock(lightning.Callback):
    """The times at which steps ended; stops the training once they say enough."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if (batch_idx + 1) % trainer.accumulate_grad_batches == 0:
            float(pl_module.statistics["loss"])  # waits for an accelerator
            self.ends.append(time.monotonic())
        trainer.should_stop = len(self.ends) > 2 and self.ends[-1] - self.ends[0] >= SECONDS
