"""What is fine-tuned: an encoder, its last block's CLS and mean tokens, BatchNorm and a linear layer."""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as as_safetensors
from torch import Tensor, nn

from atst.errors import UsageError
from atst.evaluation.sweep import initial_weight
from atst.model.audio_model import AudioModel
from atst.model.encoder import Encoder
from atst.output.atomic import new_file


class Network(nn.Module):
    """Log-mels, each (64, T), to logits (B, C). `model` is copied; `segment_seconds` of 0 keeps its own."""

    def __init__(self, model: AudioModel, classes: int, segment_seconds: float = 0.0, seed: int = 0) -> None:
        super().__init__()
        self.model = deepcopy(model)
        self.model.config = replace(
            model.config, segment_seconds=segment_seconds or model.config.segment_seconds
        )
        self.norm = nn.BatchNorm1d(2 * model.width, affine=False)
        self.linear = nn.Linear(2 * model.width, classes)
        with torch.no_grad():
            self.linear.weight.copy_(initial_weight(2 * model.width, classes, seed).T)
            self.linear.bias.zero_()

    def forward(self, logmels: Sequence[Tensor]) -> Tensor:
        features = self.model.pool_logmels(logmels, batch_size=max(2, len(logmels)))  # (B, 2 * D)
        return self.linear(self.norm(features)).float()

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
        """Weight (C, 2 * D) and bias (C,) of the head in eval mode on plain features, on the CPU."""
        assert self.norm.running_mean is not None
        assert self.norm.running_var is not None
        scale = (self.norm.running_var.double() + self.norm.eps).rsqrt()
        weight = self.linear.weight.detach().double() * scale
        bias = self.linear.bias.detach().double() - weight @ self.norm.running_mean.double()
        return weight.float().cpu(), bias.float().cpu()


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
