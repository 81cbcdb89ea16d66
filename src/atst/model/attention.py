"""What an encoder's last block attends to: its CLS token's weights over time."""

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from atst.errors import UsageError

if TYPE_CHECKING:
    from atst.model.audio_model import AudioModel

Maps = tuple[NDArray[np.float64], NDArray[np.float32]]


def has_cls(model: Any) -> bool:
    """Whether a model has an encoder with a CLS token."""
    return bool(getattr(getattr(model, "encoder", None), "has_cls", False))


def check_cls(model: Any) -> None:
    """Raises `UsageError` for a model without a CLS token."""
    if not has_cls(model):
        raise UsageError(f"{model.name} has no CLS token in PyTorch, whose attention could be shown.")


def cls_attention(model: "AudioModel", sound: Any, sample_rate: int | None = None) -> Maps:
    """Centres of the patches in seconds `(P,)`, and the last block's CLS attention `(heads, P)`.

    `sound` as in `embed_frames`. In each chunk of `segment_seconds` a head's weights and the one that CLS
    gives itself, which is left out, add up to 1. Raises `UsageError` for a model without CLS.
    """
    check_cls(model)
    attention = model.encoder.blocks[-1].get_submodule("attn")
    parts: list[Tensor] = []

    def keep(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        parts.append(_cls_weights(attention, inputs[0])[0])

    hook = attention.register_forward_pre_hook(keep)
    try:
        times, _ = model.embed_frames(sound, sample_rate=sample_rate)
    finally:
        hook.remove()
    weights = torch.cat(parts, dim=-1).float().cpu().numpy()
    assert weights.shape[-1] == len(times), "a pass of the encoder for each chunk, without padding"
    return times, weights


@torch.no_grad()
def _cls_weights(attention: Any, tokens: Tensor) -> Tensor:
    """(B, heads, P) from the tokens `(B, 1+P, D)` that the block attends over."""
    batch, count, width = tokens.shape
    heads = attention.heads
    qkv = attention.qkv(tokens).view(batch, count, 3, heads, width // heads).permute(2, 0, 3, 1, 4)
    query, keys = qkv[0, :, :, :1], qkv[1]  # (B, heads, 1, D/heads), (B, heads, 1+P, D/heads)
    scores = query @ keys.transpose(-1, -2) * query.shape[-1] ** -0.5
    return scores.softmax(dim=-1)[:, :, 0, 1:]
