"""Lightning's Trainer as both trainings use it: one endless epoch, no chatter."""

import logging
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytorch_lightning as lightning
import torch
from pytorch_lightning.strategies import DDPStrategy
from torch.distributed.device_mesh import init_device_mesh
from torch.optim import Optimizer

from atst.model.matmul import fast_products
from atst.training import signals
from atst.training.checkpoints import CheckpointFile
from atst.training.launch import Environment
from atst.training.loader import Batches
from atst.training.sharding import part, whole

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
    sharded: bool = False,
) -> int:
    """Train for `max_steps` optimiser steps, from a checkpoint if there is one; the steps that are done.

    `batches` makes the endless stream of a process from its rank; `precision` is `float32` or `bf16`;
    `devices` counts those of all machines; if `sharded`, the module is divided over them (`Sharded`). A
    second Ctrl-C is a `KeyboardInterrupt`.
    """
    with _quiet_lightning(), signals.restored(), fast_products(device):
        trainer = _trainer(device, devices, callbacks, precision, accumulate, max_steps, sharded)
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
    sharded: bool,
) -> lightning.Trainer:
    environment = Environment()
    return lightning.Trainer(
        accelerator="gpu" if device.type == "cuda" else device.type,
        devices=devices // environment.nodes,
        num_nodes=environment.nodes,
        # Under SLURM Lightning loads an hpc_ckpt_*.ckpt that it finds here: by default in the current folder.
        default_root_dir=os.devnull,
        strategy=Sharded() if sharded else "ddp" if devices > 1 else "auto",
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


class Sharded(DDPStrategy):
    """The processes of DDP, over which a module that has a method `shard(mesh)` divides itself.

    Its checkpoints are those of DDP: whole tensors, written by the first process and read by all.
    """

    def configure_ddp(self) -> None:
        """Called when the module is on its device, and has the weights of a checkpoint."""
        module: Any = self.lightning_module
        module.shard(init_device_mesh(self.root_device.type, (self.world_size,)))

    def lightning_module_state_dict(self) -> dict[str, Any]:
        state: dict[str, Any] = whole(super().lightning_module_state_dict(), self.is_global_zero)
        return state

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        state: dict[str, Any] = whole(super().optimizer_state(optimizer), self.is_global_zero)
        return state

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        divided = []
        for optimizer, state in zip(self.optimizers, checkpoint["optimizer_states"], strict=True):
            weights = [weight for group in optimizer.param_groups for weight in group["params"]]
            moments = {
                number: {key: part(value, weights[number]) for key, value in values.items()}
                for number, values in state["state"].items()
            }
            divided.append({**state, "state": moments})
        super().load_optimizer_state_dict({"optimizer_states": divided})

    def teardown(self) -> None:
        """As Lightning's own strategy for such modules, which are not moved to the CPU."""
        assert self.cluster_environment is not None
        assert self.accelerator is not None
        self.cluster_environment.teardown()
        self.precision_plugin.teardown()
        self.accelerator.teardown()


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
