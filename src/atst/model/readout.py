"""Which levels of an encoder are read, and how their tokens over time become one vector a clip."""

from collections.abc import Container
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor

from atst.errors import UsageError, unknown
from atst.model.moments import STATISTICS

POOLINGS = ("mean", "published", "statistics", "whitened")
LEVELS = ("blocks", "stem", "stem-last", "all")


@dataclass(frozen=True)
class ReadOut:
    """`layers` counts blocks, from the last; `levels` says what is read besides or instead of blocks.

    Its fields are options of a model's `embed`.
    """

    pooling: str
    layers: int
    levels: str

    @classmethod
    def of(
        cls,
        encoder: Any,
        layers: int | None = None,
        pooling: str | None = None,
        levels: str | None = None,
        whitened: Container[str] = (),
    ) -> "ReadOut":
        """The read-out that was asked for; the encoder's own where nothing was.

        An encoder of patches gives CLS, if it has one, and mean token of the last block; a convolutional
        one, statistics of the stem and of every block, whitened if that was fitted for these levels. Raises
        `UsageError` for what the encoder does not have.
        """
        is_conv = encoder.stem_name == "conv"
        own = cls("statistics", encoder.depth, "all") if is_conv else cls("mean", 1, "blocks")
        read = cls(pooling or own.pooling, own.layers if layers is None else layers, levels or own.levels)
        fitted = read.levels in whitened and read.layers == encoder.depth
        if pooling is None and not encoder.has_cls and fitted:
            return replace(read, pooling="whitened")
        if read.pooling == "whitened" and not fitted:
            raise UsageError(
                f"pooling 'whitened' was not fitted for levels '{read.levels}' and {read.layers} blocks of "
                "this model; give pooling 'statistics'."
            )
        if read.pooling not in POOLINGS:
            raise unknown("pooling", read.pooling, POOLINGS)
        if read.levels not in LEVELS:
            raise unknown("levels", read.levels, LEVELS)
        if not 1 <= read.layers <= encoder.depth:
            raise UsageError(
                f"layers (--layers) must be 1 to {encoder.depth} for a '{encoder.size}' encoder, "
                f"not {read.layers}."
            )
        if encoder.has_cls and read.pooling in ("mean", "published") and read.levels != "blocks":
            raise UsageError(f"levels '{read.levels}' of this encoder need pooling 'statistics'.")
        return read

    def has_cls(self, encoder: Any) -> bool:
        """Whether a clip's vector is CLS tokens and mean tokens, averaged over its chunks."""
        return bool(encoder.has_cls) and self.pooling in ("mean", "published")

    @property
    def has_statistics(self) -> bool:
        """Whether it is more than means over time."""
        return self.pooling in ("statistics", "whitened")

    def options(self) -> dict[str, Any]:
        """Of `embed`, to get it."""
        return asdict(self)

    def size(self, encoder: Any) -> int:
        """Values of a clip's vector."""
        return self.frame_size(encoder) * (
            2 if self.has_cls(encoder) else len(STATISTICS) if self.has_statistics else 1
        )

    def frame_size(self, encoder: Any) -> int:
        """Values of a frame's vector."""
        stem = {"blocks": [], "stem-last": encoder.stem_sizes[-1:]}.get(self.levels, encoder.stem_sizes)
        return sum(stem) + encoder.width * self._blocks

    def tokens(self, encoder: Any, logmels: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Tokens of the levels side by side, `(B, P, frame_size)`; stem first, older block before newer."""
        return torch.cat(self.level_tokens(encoder, logmels, lengths), dim=-1)

    def level_tokens(self, encoder: Any, logmels: Tensor, lengths: Tensor | None = None) -> list[Tensor]:
        """Tokens of each level, `(B, P, F)`."""
        levels = encoder.levels(logmels, lengths, layers=self._blocks, stem=self.levels != "blocks")
        return list(levels[-1:] if self.levels == "stem-last" else levels)

    @property
    def _blocks(self) -> int:
        return self.layers if self.levels in ("blocks", "all") else 0


def cls_and_means(outputs: list[Tensor], patches: Tensor, divisor: Tensor) -> Tensor:
    """CLS tokens of `outputs` `(B, 1+P, D)` each, then their mean tokens, `(B, 2 * len(outputs) * D)`.

    A clip's first `patches` `(B,)` count; their sum is divided by `divisor` `(B,)`.
    """
    valid = torch.arange(outputs[0].shape[1] - 1, device=patches.device) < patches[:, None]  # (B, P)
    means = [(out[:, 1:] * valid[:, :, None]).sum(1) / divisor[:, None] for out in outputs]
    return torch.cat([out[:, 0] for out in outputs] + means, dim=-1)
