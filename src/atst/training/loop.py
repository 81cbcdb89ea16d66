"""Lightning's Trainer as both trainings use it: one endless epoch, no chatter."""

import logging
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytorch_lightning as lightning
import torch

from atst.model.matmul import fast_products
from atst.training import signals
from atst.training.checkpoints import CheckpointFile
from atst.training.launch import Environment
from atst.training.loader import Batches

PRECISIONS: dict[str, Any] = {"float32": "32-true", "bf16": "bf16-mixed"}  # ours to Lightning's


def fit(
    module: lightning.LightningModule,
    batches: Callable[[int], Batches],
    callbacks: list[lightning.Callback],
    device: torch.device,
    devices: int = 1,
    *,
    precision: str,
    accumulate: int,
    max_steps: int,
    checkpoint: Path | None = None,
) -> int:
    """Train for `max_steps` optimiser steps, from a checkpoint if there is one; the steps that are done.

    `batches` makes the endless stream of a process from its rank; `precision` is `float32` or `bf16`;
    `devices` counts those of all machines. A second Ctrl-C is a `KeyboardInterrupt`.
    """
    with _quiet_lightning(), signals.restored(), fast_products():
        trainer = _trainer(device, devices, callbacks, precision, accumulate, max_steps)
        try:
            trainer.fit(module, batches(trainer.global_rank), ckpt_path=checkpoint, weights_only=True)
        except SystemExit:  # what Lightning makes of Ctrl-C
            raise KeyboardInterrupt from None
        return trainer.global_step


def _trainer(
    device: torch.device,
    devices: int,
    callbacks: list[lightning.Callback],
    precision: str,
    accumulate: int,
    max_steps: int,
) -> lightning.Trainer:
    environment = Environment()
    return lightning.Trainer(
        accelerator="gpu" if device.type == "cuda" else device.type,
        devices=devices // environment.nodes,
        num_nodes=environment.nodes,
        # Under SLURM Lightning loads an hpc_ckpt_*.ckpt that it finds here: by default in the current folder.
        default_root_dir=os.devnull,
        strategy="ddp" if devices > 1 else "auto",
        precision=PRECISIONS[precision],
        accumulate_grad_batches=accumulate,
        max_steps=max_steps,
        max_epochs=-1,  # the stream is endless: the run is one epoch
        callbacks=callbacks,
        plugins=[environment, CheckpointFile()],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
    )


@contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Leave out what Lightning says at every start, tips and advice for other ways of using it."""
    loggers = [logging.getLogger(name) for name in ("pytorch_lightning", "lightning_fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="pytorch_lightning|lightning_fabric")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
