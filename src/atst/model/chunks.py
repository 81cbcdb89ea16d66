"""Log-mels of any length through an encoder: cut into chunks, batched by length, merged clip by clip."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from atst.model.encoder import PATCH_FRAMES
from atst.model.moments import Moments
from atst.model.readout import ReadOut, cls_and_means

PADDED = 1.2  # times its length: as far as a chunk is padded to be in a batch with a longer one

Encoded = Tensor | Moments  # a row a clip: CLS and mean tokens, or the moments of all its tokens


def encode(
    encoder: Any, read: ReadOut, logmels: Sequence[Tensor], chunk_frames: int, batch_size: int
) -> Encoded:
    """What is read of each log-mel `(64, T)`, at most `chunk_frames` of it in one pass."""
    chunks = sorted(_cut(logmels, chunk_frames), key=lambda chunk: chunk.frames)
    batches = list(_batches(chunks, batch_size))
    owners = torch.tensor([chunk.owner for chunk in chunks], device=logmels[0].device)
    if not read.has_cls(encoder):
        moments = [_moments(encoder, read, batch) for batch in batches]
        return Moments.join(moments).merge(owners, len(logmels))
    vectors = torch.cat([_cls_and_means(encoder, read, batch).float() for batch in batches])
    total = vectors.new_zeros(len(logmels), vectors.shape[1]).index_add(0, owners, vectors)
    return total / torch.bincount(owners, minlength=len(logmels))[:, None]


def encode_frames(
    encoder: Any, read: ReadOut, logmel: Tensor, chunk_frames: int
) -> Iterator[tuple[NDArray[np.float64], Tensor]]:
    """Centres `(P,)` in frames and tokens `(P, F)` of one log-mel `(64, T)`, chunk by chunk."""
    size = chunk_frames // PATCH_FRAMES * PATCH_FRAMES
    for start in range(0, logmel.shape[-1] - PATCH_FRAMES + 1, size):
        tokens = read.tokens(encoder, logmel[None, :, start : start + size])[0]
        yield start + np.arange(len(tokens)) * PATCH_FRAMES + encoder.first_centre, tokens


def merge(parts: Sequence[Encoded], owners: Sequence[int], seconds: Sequence[float]) -> Encoded:
    """One row a clip from those of its windows, which are `seconds` long; `owners` says whose each is."""
    number = owners[-1] + 1
    moments = [part for part in parts if isinstance(part, Moments)]
    if moments:
        whose = torch.tensor(owners, device=moments[0].count.device)
        return Moments.join(moments).merge(whose, number)
    vectors = torch.cat([part.cpu() for part in parts if isinstance(part, Tensor)])
    if number == len(owners):  # as they are
        return vectors
    weights = torch.tensor(seconds, dtype=torch.float64)
    total = weights.new_zeros(number, vectors.shape[1])
    total.index_add_(0, torch.tensor(owners), vectors * weights[:, None])
    return (total / torch.bincount(torch.tensor(owners), weights)[:, None]).float()


def counted_chunks(frames: int, chunk: int) -> list[int]:
    """Start frames of the chunks that count: the first always, a later one if over half of it exists."""
    return [start for start in range(0, frames, chunk) if start == 0 or frames - start > chunk // 2]


@dataclass
class _Chunk:
    owner: int  # index of the log-mel it was cut from
    logmel: Tensor  # (64, T)
    patches_left: int  # of that log-mel, from this chunk's start on

    @property
    def frames(self) -> int:
        return self.logmel.shape[-1]


def _cut(logmels: Sequence[Tensor], size: int) -> Iterator[_Chunk]:
    for owner, logmel in enumerate(logmels):
        frames = logmel.shape[-1]
        for start in counted_chunks(frames, size):
            yield _Chunk(owner, logmel[:, start : start + size], (frames - start) // PATCH_FRAMES)


def _batches(chunks: Sequence[_Chunk], size: int) -> Iterator[list[_Chunk]]:
    """At most `size` at a time, shorter ones first; a little padding is cheaper than another pass."""
    batch: list[_Chunk] = []
    for chunk in chunks:
        if batch and (len(batch) == size or chunk.frames > PADDED * batch[0].frames):
            yield batch
            batch = []
        batch.append(chunk)
    yield batch


def _moments(encoder: Any, read: ReadOut, batch: Sequence[_Chunk]) -> Moments:
    """Moments over time of each chunk's tokens."""
    logmels, lengths = _stack(batch)
    if _equal(lengths):
        return Moments.of_all(read.level_tokens(encoder, logmels))
    lengths = lengths.to(logmels.device)
    levels = read.level_tokens(encoder, logmels, lengths)  # (B, P, F) each
    positions = torch.arange(levels[0].shape[1], device=logmels.device)
    return Moments.of_all(levels, positions < encoder.count(lengths)[:, None])


def _cls_and_means(encoder: Any, read: ReadOut, batch: Sequence[_Chunk]) -> Tensor:
    """CLS tokens then mean tokens of each chunk, `(len(batch), 2 * layers * D)`."""
    logmels, lengths = _stack(batch)
    where = logmels.device
    outputs = encoder(logmels, lengths=None if _equal(lengths) else lengths.to(where), layers=read.layers)
    patches = lengths // PATCH_FRAMES
    divisor = patches if read.pooling == "mean" else torch.tensor([chunk.patches_left for chunk in batch])
    return cls_and_means(outputs, patches.to(where), divisor.to(where))


def _stack(batch: Sequence[_Chunk]) -> tuple[Tensor, Tensor]:
    """Log-mels of a batch `(B, 64, T)`, padded at the end, and their lengths `(B,)`, on the CPU."""
    lengths = torch.tensor([chunk.frames for chunk in batch])
    if _equal(lengths):
        return torch.stack([chunk.logmel for chunk in batch]), lengths
    width = int(lengths.max())
    padded = [nn.functional.pad(chunk.logmel, (0, width - chunk.frames)) for chunk in batch]
    return torch.stack(padded), lengths


def _equal(lengths: Tensor) -> bool:
    """Whether no chunk is padded, and none needs a mask."""
    return bool((lengths == lengths[0]).all())
