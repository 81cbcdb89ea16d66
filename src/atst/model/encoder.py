"""The transformer encoder: a log-mel spectrogram becomes one CLS token and a token per 40 ms patch.

ATST section III-B: non-overlapping patches of all 64 mel bands by 4 frames, a learned position per
token, pre-norm transformer blocks, and one final LayerNorm shared by every block that is read out.
"""

from typing import Any

import torch
from torch import Tensor, nn

from atst.errors import unknown
from atst.model.frontend import N_MELS
from atst.model.matmul import fast_products_apply
from atst.model.processes import draw_rows

PATCH_FRAMES = 4
MAX_PATCHES = 250
MASKED = -10_000.0
MOST_EXPLICIT = 1000  # tokens

# width, blocks, heads
SIZES = {
    "nano": (128, 4, 2),
    "tiny": (192, 12, 3),
    "small": (384, 12, 6),
    "base": (768, 12, 12),
}
HEAD_HIDDEN, HEAD_OUTPUT = 4096, 256  # of the paper's projector and predictor, which checkpoints hold too


class Encoder(nn.Module):
    """Log-mel `(B, 64, T)` to tokens `(B, 1 + T // 4, D)`, CLS first, patches in time order.

    `size` is a key of `SIZES`; `drop_path` as in `set_drop_path`. Levels: the embedded patches, and every
    block.
    """

    sizes = SIZES
    stem_name = "patches"
    has_cls = True
    first_centre = (PATCH_FRAMES - 1) / 2  # frames

    def __init__(self, size: str, drop_path: float = 0.0) -> None:
        super().__init__()
        if size not in SIZES:
            raise unknown("encoder size", size, SIZES)
        self.size = size
        self.width, self.depth, heads = SIZES[size]
        if self.has_cls:
            self.cls_token = nn.Parameter(torch.zeros(1, 1, self.width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + MAX_PATCHES, self.width))
        # Used and trained where frames are masked (`TeacherStudent`), but part of all published weights.
        self.mask_embed = nn.Parameter(torch.zeros(1, 1, self.width), requires_grad=False)
        self.patch_embed = nn.Linear(N_MELS * PATCH_FRAMES, self.width)
        self.blocks = nn.ModuleList(Block(self.width, heads) for _ in range(self.depth))
        self.set_drop_path(drop_path)
        self.norm = nn.LayerNorm(self.width, eps=1e-6)
        self.stem_sizes = [self.width]
        for name in ("cls_token", "pos_embed", "mask_embed")[not self.has_cls :]:
            nn.init.trunc_normal_(getattr(self, name), std=0.02)
        self.apply(initialise)

    def set_drop_path(self, rate: float) -> None:
        """Stochastic depth: `rate` in the last block, 0 in the first, linear between; in train mode only.

        One draw a sample and branch.
        """
        set_drop_path(self.blocks, rate)

    @staticmethod
    def count(frames: int | Tensor) -> Any:
        """Patches of a log-mel of so many frames."""
        return frames // PATCH_FRAMES

    def forward(
        self, logmel: Tensor, lengths: Tensor | None = None, layers: int = 1, masked: Tensor | None = None
    ) -> list[Tensor]:
        """Tokens of the last `layers` blocks, older block first, each `(B, 1+P, D)` after the final norm.

        `lengths` (frames, `(B,)`) masks the padding of shorter clips: patches at or beyond
        `length // 4` are not attended to. At most 1003 frames fit one pass. Patches where `masked` `(B, P)`
        is true are hidden: the mask embedding stands in for them.
        """
        if not 1 <= layers <= self.depth:
            raise ValueError(f"layers must be 1 to {self.depth}, not {layers}")
        tokens = self._stem(logmel)
        if masked is not None:
            tokens = torch.where(masked[:, :, None], self.mask_embed.to(tokens.dtype), tokens)
        return self._blocks(tokens, lengths, layers)

    def levels(
        self, logmel: Tensor, lengths: Tensor | None = None, *, layers: int, stem: bool, keep: float = 1.0
    ) -> list[Tensor]:
        """Tokens `(B, P, D)` of the patch embedding (if `stem`) and the last `layers` blocks, without CLS."""
        assert keep == 1.0, "the encoder of patches drops no tokens"
        embedded = self._stem(logmel)
        blocks = self._blocks(embedded, lengths, layers) if layers else []
        return [embedded] * stem + [tokens[:, int(self.has_cls) :] for tokens in blocks]

    def _stem(self, logmel: Tensor) -> Tensor:
        tokens = self.patch_embed(patches(logmel))  # (B, P, D)
        if tokens.shape[1] > MAX_PATCHES:
            raise ValueError(
                f"{logmel.shape[-1]} frames: one pass takes at most {MAX_PATCHES * PATCH_FRAMES + 3}"
            )
        return tokens

    def _blocks(self, tokens: Tensor, lengths: Tensor | None, layers: int) -> list[Tensor]:
        if self.has_cls:
            cls = self.cls_token.to(tokens.dtype).expand(tokens.shape[0], -1, -1)
            tokens = torch.cat([cls, tokens], dim=1)
        first = int(not self.has_cls)  # of the positions, where CLS has the first
        tokens = tokens + self.pos_embed[:, first : first + tokens.shape[1]]  # (B, 1+P, D)
        valid = None if lengths is None else self.count(lengths) + int(self.has_cls)
        mask = None if valid is None else key_mask(valid, tokens.shape[1])
        outputs = []
        for i, block in enumerate(self.blocks):
            tokens = block(tokens, mask)
            if i >= self.depth - layers:
                outputs.append(self.norm(tokens))
        return outputs


class FrameEncoder(Encoder):
    """The encoder of ATST-Frame (arXiv 2306.04186), without a CLS token: tokens `(B, T // 4, D)`."""

    stem_name = "frame"
    has_cls = False


class Block(nn.Module):
    """Pre-norm transformer block: attention without QKV bias, then an MLP of 4x width with exact GELU."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = MLP(width)
        self.drop_path = 0.0

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        x = x + self.drop(self.attn(self.norm1(x), mask))
        return x + self.drop(self.mlp(self.norm2(x)))

    def drop(self, branch: Tensor) -> Tensor:
        """Stochastic depth: drops the whole branch of a sample, scaling what stays."""
        if not self.training or self.drop_path == 0.0:
            return branch
        keep = 1.0 - self.drop_path
        kept = draw_rows(branch.shape[0], 1, branch.device)[:, :, None] < keep
        return branch * (kept / keep).to(branch.dtype)


class Attention(nn.Module):
    """Multi-head self-attention, scale `head_dim ** -0.5`."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        batch, tokens, width = x.shape
        qkv = self.qkv(x).view(batch, tokens, 3, self.heads, width // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # (B, H, 1+P, D/H) each
        if mask is not None:
            mask = mask.to(q.dtype)
        if explicit_is_faster(q):
            scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)  # (B, H, 1+P, 1+P)
            out = (scores if mask is None else scores + mask).softmax(dim=-1).to(v.dtype) @ v
        else:
            out = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.proj(out.transpose(1, 2).reshape(batch, tokens, width))


class MLP(nn.Module):
    """Two linear layers with exact GELU between, 4x wider inside."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(nn.functional.gelu(self.fc1(x)))


def patches(logmel: Tensor) -> Tensor:
    """Log-mel `(B, 64, T)` to patch vectors `(B, T // 4, 256)`, element = band * 4 + frame."""
    batch, bands, frames = logmel.shape
    count = frames // PATCH_FRAMES
    cut = logmel[:, :, : count * PATCH_FRAMES].reshape(batch, bands, count, PATCH_FRAMES)
    return cut.permute(0, 2, 1, 3).reshape(batch, count, bands * PATCH_FRAMES)


def key_mask(valid: Tensor, tokens: int) -> Tensor:
    """Additive attention mask `(B, 1, 1, tokens)`: -10000 beyond the first `valid` `(B,)` tokens of each."""
    beyond = torch.arange(tokens, device=valid.device) >= valid[:, None]
    return beyond[:, None, None, :].float() * MASKED


def explicit_is_faster(q: Tensor) -> bool:
    """Whether plain matrix products beat the fused kernel (`benchmarks/attention.py`).

    PyTorch's fused CPU kernel is slow in bfloat16. In float32 it is the faster one where MKL multiplies, and
    much the slower one where oneDNN does, which is asked for many small products then; unless there are so
    many tokens that the scores leave the cache.
    """
    few = q.shape[-2] <= MOST_EXPLICIT
    return q.device.type == "cpu" and (q.dtype == torch.bfloat16 or (few and fast_products_apply()))


def forward_flops(size: str, frames: int) -> int:
    """Floating-point operations of the matrix products for one clip; a multiply-add counts as two."""
    width, blocks, _ = SIZES[size]
    count = frames // PATCH_FRAMES
    return 2 * N_MELS * PATCH_FRAMES * width * count + blocks * block_flops(width, 1 + count)


def block_flops(width: int, tokens: int) -> int:
    """Those of a transformer block."""
    linear = 2 * 12 * width * width * tokens  # QKV 3, projection 1, MLP 4 + 4
    return linear + 2 * 2 * tokens * tokens * width  # scores, then the weighted sum of values


def set_drop_path(blocks: nn.ModuleList, rate: float) -> None:
    """Stochastic depth of blocks: `rate` in the last, 0 in the first, linear between."""
    for block, block_rate in zip(blocks, torch.linspace(0, rate, len(blocks)).tolist(), strict=True):
        assert isinstance(block, Block)
        block.drop_path = block_rate


def initialise(module: nn.Module) -> None:
    """Linear layers as in the paper's code: weights normal, truncated, deviation 0.02; biases 0."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
