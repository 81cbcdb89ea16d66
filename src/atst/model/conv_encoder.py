"""The convolutional encoder: three strided convolutions, then transformer blocks over their output.

Unlike the paper's patches, the convolutions see neighbouring bands and frames together, and they learn
within minutes (`docs/results.md`). There is neither a CLS token nor a position: a clip is described by
statistics over time of every level.
"""

from typing import Any

import torch
from torch import Tensor, nn

from atst.errors import unknown
from atst.model.encoder import (
    PATCH_FRAMES,
    Block,
    Encoder,
    FrameEncoder,
    block_flops,
    initialise,
    key_mask,
    set_drop_path,
)
from atst.model.frontend import N_MELS
from atst.model.processes import BatchNorm2d, draw_rows

# channels of the three convolutions, then width, blocks and heads of the transformer
CONV_SIZES = {
    "nano": ((32, 64, 64), 128, 2, 4),
    "tiny": ((64, 128, 128), 192, 2, 6),
}
KERNELS, STRIDES = (5, 3, 3), ((2, 2), (2, 2), (2, 1))  # strides in bands, in frames
BANDS = (N_MELS // 4, N_MELS // 8)  # of the two levels that are read out
DROP_SPAN = 5  # neighbouring tokens that are dropped together


class ConvEncoder(nn.Module):
    """Log-mel `(B, 64, T)` to tokens `(B, P, D)`, `P = ceil(T / 4)`, token `i` centred on frame `4 * i`.

    `size` is a key of `CONV_SIZES`. `input_mean` and `input_std` standardise the log-mel; a training sets
    them from its corpus. Levels: the second convolution (16 bands by its channels), the third (8 bands), and
    every block.
    """

    sizes = CONV_SIZES
    stem_name = "conv"
    has_cls = False
    first_centre = 0.0  # frames
    input_mean: Tensor
    input_std: Tensor

    def __init__(self, size: str, drop_path: float = 0.0) -> None:
        super().__init__()
        if size not in CONV_SIZES:
            raise unknown("encoder size", size, CONV_SIZES)
        self.size = size
        channels, self.width, self.depth, heads = CONV_SIZES[size]
        self.stem_sizes = stem_sizes(size)
        self.register_buffer("input_mean", torch.zeros(()))
        self.register_buffer("input_std", torch.full((), 0.3))  # about that of any sound
        self.stem = nn.ModuleList(
            _convolution(before, after, kernel, stride)
            for before, after, kernel, stride in zip((1, *channels), channels, KERNELS, STRIDES, strict=False)
        )
        self.project = nn.Linear(self.stem_sizes[-1], self.width)
        self.blocks = nn.ModuleList(Block(self.width, heads) for _ in range(self.depth))
        self.norm = nn.LayerNorm(self.width, eps=1e-6)
        for module in (self.project, self.blocks):
            module.apply(initialise)
        self.set_drop_path(drop_path)

    def set_drop_path(self, rate: float) -> None:
        """Stochastic depth, as in `set_drop_path` of the encoder of patches."""
        set_drop_path(self.blocks, rate)

    def standardise(self, mean: float, std: float) -> None:
        """Mean and standard deviation of the log-mels that the encoder will see."""
        self.input_mean.fill_(mean)
        self.input_std.fill_(std)

    @staticmethod
    def count(frames: int | Tensor) -> Any:
        """Tokens of a log-mel of so many frames."""
        return -(-frames // PATCH_FRAMES)

    def forward(self, logmel: Tensor, lengths: Tensor | None = None, layers: int = 1) -> list[Tensor]:
        """Tokens of the last `layers` blocks, older first, each `(B, P, D)` after the final norm."""
        return self.levels(logmel, lengths, layers=layers, stem=False)

    def levels(
        self,
        logmel: Tensor,
        lengths: Tensor | None = None,
        *,
        layers: int,
        stem: bool,
        keep: float = 1.0,
    ) -> list[Tensor]:
        """Tokens `(B, P, D)` of the last two convolutions (if `stem`) and of the last `layers` blocks.

        `lengths` (frames, `(B,)`) makes the valid tokens what they are without padding. `keep` is the share
        of the tokens that the blocks see; the others are dropped at random, for training.
        """
        x = (logmel - self.input_mean) / self.input_std
        x = x[:, None].contiguous(memory_format=torch.channels_last)  # (B, 1, 64, T)
        outputs = []
        for convolution, (_, stride) in zip(self.stem, STRIDES, strict=True):
            x = convolution(_zero_beyond(x, lengths))  # (B, C, F, P)
            lengths = None if lengths is None else -(-lengths // stride)
            if convolution is not self.stem[0]:  # which nobody reads
                outputs.append(x.permute(0, 3, 2, 1).flatten(2))  # (B, P, F * C)
        read = list(outputs) if stem else []
        if not layers:
            return read
        tokens = self.project(outputs[-1])
        if keep < 1.0:
            assert lengths is None, "tokens are dropped in training, where views are equally long"
            tokens = _drop(tokens, keep)
        mask = None if lengths is None else key_mask(lengths, tokens.shape[1])
        for i, block in enumerate(self.blocks):
            tokens = block(tokens, mask)
            if i >= self.depth - layers:
                read.append(self.norm(tokens))
        return read


def stem_sizes(size: str) -> list[int]:
    """Values a token of the convolutions that are read out."""
    return [bands * count for bands, count in zip(BANDS, CONV_SIZES[size][0][1:], strict=True)]


def conv_flops(size: str, frames: int, keep: float = 1.0) -> int:
    """As `forward_flops`, of this encoder; its blocks see a share `keep` of the tokens."""
    channels, width, blocks, _ = CONV_SIZES[size]
    total, bands = 0, N_MELS
    layers = zip((1, *channels), channels, KERNELS, STRIDES, strict=False)
    for before, after, kernel, (stride, hop) in layers:
        bands, frames = -(-bands // stride), -(-frames // hop)
        total += 2 * kernel**2 * before * after * bands * frames
    total += 2 * BANDS[-1] * channels[-1] * width * frames
    return total + blocks * block_flops(width, max(1, round(keep * frames)))


STEMS: dict[str, type[Encoder] | type[ConvEncoder]] = {
    "patches": Encoder,
    "conv": ConvEncoder,
    "frame": FrameEncoder,
}


def _convolution(before: int, after: int, kernel: int, stride: tuple[int, int]) -> nn.Sequential:
    convolution = nn.Conv2d(before, after, kernel, stride, padding=kernel // 2, bias=False)
    weight = convolution.weight.detach().contiguous(memory_format=torch.channels_last)  # faster on CPU
    convolution.weight = nn.Parameter(weight)
    return nn.Sequential(convolution, BatchNorm2d(after), nn.ReLU(inplace=True))


def _zero_beyond(x: Tensor, lengths: Tensor | None) -> Tensor:
    """`(B, C, F, T)` with zeros beyond each clip's end, as the convolution's own padding has them."""
    if lengths is None:
        return x
    valid = torch.arange(x.shape[-1], device=x.device) < lengths[:, None]
    return x * valid[:, None, None, :].to(x.dtype)


def _drop(tokens: Tensor, keep: float) -> Tensor:
    """A share of the tokens `(B, P, D)`, the same number of each clip; what is dropped lies together."""
    batch, count, _ = tokens.shape
    draws = draw_rows(batch, 1 + count // DROP_SPAN + 2, tokens.device)
    offset, spans = (DROP_SPAN * draws[:, :1]).long(), draws[:, 1:]
    span = (torch.arange(count, device=tokens.device) + offset) // DROP_SPAN
    kept = spans.gather(1, span).argsort(dim=1, stable=True)[:, : max(1, round(keep * count))].sort(1).values
    return tokens.gather(1, kept[:, :, None].expand(-1, -1, tokens.shape[-1]))
