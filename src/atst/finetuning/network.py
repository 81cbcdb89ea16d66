"""The network that is fine-tuned: encoder, its read-out, BatchNorm, linear layer."""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import torch
from safetensors.torch import save as as_safetensors
from torch import Tensor, nn

from atst.errors import UsageError
from atst.finetuning.recipe import Recipe
from atst.model.audio_model import AudioModel
from atst.model.classifier import folded, initial_weight
from atst.model.encoder import Encoder
from atst.model.processes import BatchNorm, BatchNorm2d
from atst.model.readout import ReadOut
from atst.output.atomic import new_file


class Network(nn.Module):
    """Log-mels, each (64, T), to logits (B, C). `model` is copied.

    From `recipe` it takes segment, pooling, stochastic depth and the seed of the head. BatchNorm's statistics
    are those of the batch over all devices.
    """

    def __init__(self, model: AudioModel, classes: int, recipe: Recipe) -> None:
        super().__init__()
        self.model = deepcopy(model)
        self.model.config = replace(
            model.config, segment_seconds=recipe.segment_seconds or model.config.segment_seconds
        )
        self.model.encoder.set_drop_path(recipe.drop_path)
        self.model.whitening = nn.ModuleDict()  # of another encoder, soon; the head has its own BatchNorm
        self.read = readout(self.model, recipe)
        width = self.read.size(model.encoder)
        self.norm = BatchNorm(width, affine=False)
        self.linear = nn.Linear(width, classes)
        with torch.no_grad():
            self.linear.weight.copy_(initial_weight(width, classes, recipe.seed).T)
            self.linear.bias.zero_()

    def train(self, mode: bool = True) -> Self:
        """As for any module, but frozen convolutions keep their statistics too."""
        super().train(mode)
        for module in self.model.encoder.modules():
            if isinstance(module, BatchNorm2d) and not module.weight.requires_grad:
                module.eval()
        return self

    def forward(self, logmels: Sequence[Tensor]) -> Tensor:
        return self.linear(self.norm(self.features(logmels))).float()

    def features(self, logmels: Sequence[Tensor]) -> Tensor:
        """The head's input (B, F): CLS and mean tokens of the last block, or statistics over time."""
        return self.model.pool_logmels(logmels, batch_size=max(2, len(logmels)), **self.read.options())

    def parameter_groups(self, decay: float, freeze: int = 0) -> list[dict[str, Any]]:
        """Parameters to train, a group for each multiple (`scale`) of the learning rate.

        `freeze` blocks from the input on, and with them the embeddings, stay as they are; all blocks: the
        final norm too. Raises `UsageError` for more blocks than there are.
        """
        encoder = self.model.encoder
        if freeze > encoder.depth:
            raise UsageError(f"freeze must be 0 to {encoder.depth} for this encoder, not {freeze}.")
        by_scale: dict[float, list[nn.Parameter]] = {1.0: list(self.linear.parameters())}
        scales = layer_scales(encoder, decay)
        for name, parameter in encoder.named_parameters():
            frozen = freeze > 0 and block_of(name, encoder.depth) < freeze
            parameter.requires_grad_(parameter.requires_grad and not frozen)
            if parameter.requires_grad:
                by_scale.setdefault(scales[name], []).append(parameter)
        return [{"params": parameters, "scale": scale} for scale, parameters in by_scale.items()]

    def save(self, path: Path) -> None:
        """Write all weights, to be read back with `load_state_dict`."""
        weights = {key: value.detach().cpu().contiguous() for key, value in self.state_dict().items()}
        with new_file(path) as temporary:
            temporary.write_bytes(as_safetensors(weights))

    def folded(self) -> tuple[Tensor, Tensor]:
        """Weight (C, F) and bias (C,) of the head in eval mode on plain features, on the CPU."""
        assert self.norm.running_mean is not None
        assert self.norm.running_var is not None
        linear = (self.linear.weight.detach().cpu(), self.linear.bias.detach().cpu())
        return folded(self.norm.running_mean.cpu(), self.norm.running_var.cpu(), *linear, self.norm.eps)


def readout(model: AudioModel, recipe: Recipe) -> ReadOut:
    """What the head gets: the recipe's pooling of the last block; statistics where there is no CLS token."""
    return model.readout(pooling=recipe.pooling if model.encoder.has_cls else "statistics")


def layer_scales(encoder: Encoder, decay: float) -> dict[str, float]:
    """Multiple of the learning rate by the name of each encoder parameter.

    The last block and the final norm have `decay`, each block below `decay` times that, the embeddings the
    first block's.
    """
    return {
        name: decay ** (encoder.depth - max(block_of(name, encoder.depth), 0))
        for name, _ in encoder.named_parameters()
    }


def block_of(name: str, depth: int) -> int:
    """The block that an encoder's parameter goes with: -1 for the embeddings, the last for the final norm."""
    if name.startswith("blocks."):
        return int(name.split(".")[1])
    return depth - 1 if name.startswith("norm.") else -1
