"""One training step of a fine-tuning, as a Lightning module."""

from collections.abc import Sequence
from typing import Any

import pytorch_lightning as lightning
import torch
from numpy.typing import NDArray
from torch import Tensor

from atst.errors import AudioError
from atst.finetuning.clips import Clips
from atst.finetuning.network import Network
from atst.finetuning.recipe import Recipe
from atst.output.version import KEY
from atst.training.checkpoints import FORMAT_VERSION
from atst.training.schedules import MOMENTUM


class FinetuningModule(lightning.LightningModule):
    """Trains a `Network` by a recipe. `loss_sum` adds up the losses of this process's micro-batches.

    `learning_rates` has one entry a step. `class_weights` (C,) says how much a clip counts by its labels.
    """

    def __init__(
        self,
        network: Network,
        recipe: Recipe,
        learning_rates: NDArray,
        bce: bool,
        class_weights: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.network, self.recipe, self.learning_rates, self.bce = network, recipe, learning_rates, bce
        self.groups = network.parameter_groups(recipe.layer_decay, recipe.freeze)
        network.train()  # now that it is known what is frozen: a loaded model is in eval mode, and stays so
        self.register_buffer("class_weights", class_weights, persistent=False)
        self.loss_sum = torch.zeros(())  # no buffer: those become the first process's
        self.checkpoint_extra: dict[str, Any] = {}

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        # Stochastic depth is the only randomness left; seeding it by position makes a step repeatable.
        torch.manual_seed(self.recipe.seed * 1_000_003 + batch["position"])
        lengths = batch["lengths"].tolist()
        clips = [row[:, :length] for row, length in zip(batch["logmels"], lengths, strict=True)]
        losses = clip_losses(self.network(clips), batch["labels"], self.bce)
        weights = torch.ones_like(losses)
        if isinstance(self.class_weights, Tensor):
            labels = batch["labels"]
            weights = (labels @ self.class_weights) / labels.sum(1).clamp_min(1e-6)
        loss = (losses * weights).sum() / weights.sum().clamp_min(1e-6)
        self.loss_sum = self.loss_sum.to(loss.device) + loss.detach()
        return loss

    def mean_loss_sum(self) -> float:
        """`loss_sum`, the mean over all processes; to be called in each of them."""
        total = self.loss_sum.to(self.device, copy=True)
        return float(self.trainer.strategy.reduce(total, reduce_op="mean"))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.groups, lr=0.0, momentum=MOMENTUM)

    def configure_gradient_clipping(
        self, optimizer: Any, gradient_clip_val: Any = None, gradient_clip_algorithm: Any = None
    ) -> None:
        if self.recipe.clip_norm:
            trained = [parameter for group in self.groups for parameter in group["params"]]
            torch.nn.utils.clip_grad_norm_(trained, self.recipe.clip_norm)

    def optimizer_step(
        self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any = None
    ) -> None:
        learning_rate = float(self.learning_rates[self.trainer.global_step])
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * group["scale"]
        optimizer.step(closure=optimizer_closure)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["atst"] = {KEY: FORMAT_VERSION, **self.checkpoint_extra}


def clip_losses(logits: Tensor, labels: Tensor, bce: bool) -> Tensor:
    """The loss (B,) of each clip against labels (B, C) that may be mixed: mean BCE, or cross-entropy."""
    if bce:
        return torch.nn.functional.binary_cross_entropy_with_logits(logits, labels, reduction="none").mean(1)
    return -(labels * logits.log_softmax(-1)).sum(1)


def balancing_weights(counts: Tensor) -> Tensor:
    """Weights (C,) that make all classes count alike: 1 / their number of clips, `counts` (C,); mean 1."""
    weights = torch.where(counts > 0, 1 / counts.clamp_min(1), 0.0)
    return weights * (counts > 0).sum() / weights.sum()


@torch.no_grad()
def predict(
    network: Network, clips: Clips, rows: Sequence[int], batch_size: int = 32
) -> tuple[Tensor, list[int]]:
    """Logits (n, C) of the clips `rows`, in float32 on the CPU, and which of them could be read.

    Unreadable clips are added to `clips.unreadable`.
    """
    where, was_training = network.linear.weight.device, network.training
    network.eval()
    logits, read, batch = [], list[int](), list[Tensor]()
    for index in rows:
        try:
            batch.append(clips[index].to(where))
        except AudioError as error:
            clips.unreadable[index] = str(error)
            continue
        read.append(index)
        if len(batch) == batch_size:
            logits.append(network(batch).cpu())
            batch = []
    if batch:
        logits.append(network(batch).cpu())
    network.train(was_training)
    return torch.cat(logits) if logits else torch.zeros(0, network.linear.out_features), read
