"""Student and teacher as a Lightning module: one training step, the optimiser, the schedules."""

from typing import Any

import pytorch_lightning as lightning
import torch
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh

from atst.output.version import KEY
from atst.pretraining.method import TeacherStudent
from atst.pretraining.objectives import effective_rank
from atst.pretraining.recipe import Recipe
from atst.pretraining.views import Views
from atst.training import schedules
from atst.training.checkpoints import FORMAT_VERSION
from atst.training.side_stream import beside

RANK_EVERY = 20  # steps between effective ranks, which cost an eigendecomposition


class PretrainingModule(lightning.LightningModule):
    """Trains a `TeacherStudent` by a recipe. `statistics` holds what the last micro-batch measured."""

    def __init__(self, recipe: Recipe, devices: int = 1) -> None:
        super().__init__()
        self.recipe = recipe
        self.pair = TeacherStudent(
            recipe.size,
            recipe.drop_path,
            stem=recipe.stem,
            projector_input=recipe.projector_input,
            objective=recipe.objective,
            temperature=recipe.temperature,
            token_drop=recipe.token_drop,
            local_weight=recipe.local_weight,
        )
        self.views = Views(recipe)
        effective = recipe.batch_size * recipe.accumulate * devices
        peak = schedules.scaled_learning_rate(recipe.learning_rate, effective)
        self.learning_rate = schedules.learning_rate(peak, recipe.max_steps, recipe.warmup_steps)
        self.weight_decay = schedules.cosine(*recipe.weight_decay, recipe.max_steps)
        self.ema = schedules.cosine(recipe.ema, recipe.ema_end, recipe.max_steps)
        self.checkpoint_extra: dict[str, Any] = {}
        self.statistics: dict[str, Tensor | float] = {}
        if recipe.compile:
            for network in (self.pair.student, self.pair.teacher):
                network["encoder"].compile()

    def shard(self, mesh: DeviceMesh) -> None:
        """Divide the networks over the processes of a mesh."""
        self.pair.shard(mesh)

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        # Stochastic depth and dropped tokens are the only randomness left. Seeding it by the first position
        # of all processes makes a step repeatable, and the same with any number of them (`draw_rows`).
        first = batch["position"] - self.global_rank * self.recipe.batch_size
        torch.manual_seed(self.recipe.seed * 1_000_003 + first)
        with torch.no_grad(), beside(self.device, batch["views"]) as kept:
            sound = [view.to(self.device, non_blocking=True) for view in batch["views"]]
            view1, view2 = kept(*self.views(batch | {"views": sound}))
        masked = batch["masked"].to(self.device) if "masked" in batch else None
        loss, stats = self.pair.loss(view1, view2, masked=masked)
        self.statistics = {
            "loss": loss.detach(),
            "output_std_student": stats["output_std_student"],
            "output_std_teacher": stats["output_std_teacher"],
            "padding": 1.0 - batch["real"],
            "differing": batch["differ"],
        }
        if self.trainer.global_step % RANK_EVERY == 0:
            self.statistics["rank_student"] = effective_rank(stats["student"])
            self.statistics["rank_teacher"] = effective_rank(stats["teacher"])
        return loss

    def transfer_batch_to_device(
        self, batch: dict[str, Any], device: torch.device, dataloader_idx: int
    ) -> dict[str, Any]:
        """Leave the batch where it is: `training_step` moves the sound alone, without waiting."""
        return batch

    def configure_optimizers(self) -> torch.optim.Optimizer:
        # eps as the authors'; what their optimiser does otherwise is in docs/fidelity.md
        fused = self.device.type in ("cpu", "cuda")
        betas = (0.9, self.recipe.beta2)
        return torch.optim.AdamW(self.pair.parameter_groups(), lr=0.0, betas=betas, eps=1e-6, fused=fused)

    def optimizer_step(
        self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any = None
    ) -> None:
        now = self.values(self.trainer.global_step)
        decayed, plain = optimizer.param_groups
        decayed["lr"] = plain["lr"] = now["learning_rate"]
        decayed["weight_decay"] = now["weight_decay"]
        optimizer.step(closure=optimizer_closure)
        self.pair.update_teacher(now["ema"])

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["atst"] = {KEY: FORMAT_VERSION, **self.checkpoint_extra}

    def values(self, step: int) -> dict[str, float]:
        """The scheduled values of a step.

        The teacher's is the next step's, as in the published code, whose counter has advanced by then.
        """
        return {
            "learning_rate": float(self.learning_rate[step]),
            "weight_decay": float(self.weight_decay[step]),
            "ema": float(self.ema[min(step + 1, len(self.ema) - 1)]),
        }
