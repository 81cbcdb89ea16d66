"""A model as one function from waveforms to embeddings, in operations that ONNX Runtime computes fast."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from atst.model.audio_model import AudioModel
from atst.model.encoder import PATCH_FRAMES
from atst.model.frontend import (
    FRAMES_PER_SECOND,
    HOP,
    MIN_SAMPLES,
    N_FFT,
    N_MELS,
    mel_filterbank,
    normalise,
    to_decibel,
)
from atst.model.moments import Moments
from atst.model.readout import ReadOut, cls_and_means
from atst.sound.windows import WINDOW_SECONDS

WINDOW_FRAMES = int(WINDOW_SECONDS * FRAMES_PER_SECOND)
RADIX = 32  # a transform of 1024 values is two of 32, and a hop is five times 32 samples
HALF = RADIX // 2 + 1  # of the first transform's results: the others are their conjugates


class OnnxGraph(nn.Module):
    """Waveforms `(B, N)` at 16 kHz, of at most 60 s, to what `names` lists.

    The first two are `embed`'s vectors `(B, D)` and `embed_frames`' tokens `(B, P, F)`. To merge windows of
    longer recordings, statistics have the number of their tokens, `count` `(B, 1)`; whitened ones also what
    they were before, and the whitening itself.
    """

    def __init__(self, model: AudioModel, read: ReadOut, frame_read: ReadOut) -> None:
        super().__init__()
        self.read, self.frame_read = read, frame_read
        self.chunk_frames = model.config.chunk_frames
        self.frontend = MatrixFrontEnd()
        self.encoder = model.encoder
        self.whitening: Any = model.whitening[read.levels] if read.pooling == "whitened" else None
        self.names = ["embedding", "frames"]
        if not read.has_cls(self.encoder):
            self.names.append("count")
        if self.whitening is not None:
            self.names += ["statistics", *(f"whitening_{key}" for key in self.whitening.state_dict())]

    def forward(self, waveform: Tensor) -> tuple[Tensor, ...]:
        logmel = self.frontend(waveform)
        frames = self._frames(logmel[:, :, :WINDOW_FRAMES])
        if self.read.has_cls(self.encoder):
            return self._cls_and_means(logmel), frames
        moments = self._moments(logmel)
        vectors = moments.pooled(self.read.has_statistics)
        if self.whitening is None:
            return vectors, frames, moments.count
        parts = [value.clone() for value in self.whitening.state_dict().values()]
        return self.whitening(vectors), frames, moments.count, vectors, *parts

    def _cls_and_means(self, logmel: Tensor) -> Tensor:
        chunks, lengths, number = self._counted(logmel)
        patches = lengths // PATCH_FRAMES
        left = (logmel.shape[-1] - torch.arange(number) * self.chunk_frames) // PATCH_FRAMES
        divisor = patches if self.read.pooling == "mean" else left.repeat(logmel.shape[0])
        vectors = cls_and_means(self.encoder(chunks, lengths, self.read.layers), patches, divisor)
        return vectors.reshape(logmel.shape[0], number, -1).mean(1)

    def _moments(self, logmel: Tensor) -> Moments:
        if self.chunk_frames > WINDOW_FRAMES:
            return Moments.of(self.read.tokens(self.encoder, logmel))
        chunks, lengths, _ = self._counted(logmel)
        tokens = self.read.tokens(self.encoder, chunks, lengths)  # (B * chunks, P, F)
        valid = torch.arange(tokens.shape[1]) < self.encoder.count(lengths)[:, None]
        return Moments.of(
            tokens.reshape(logmel.shape[0], -1, tokens.shape[-1]), valid.reshape(logmel.shape[0], -1)
        )

    def _frames(self, logmel: Tensor) -> Tensor:
        if self.chunk_frames > WINDOW_FRAMES:
            return self.frame_read.tokens(self.encoder, logmel)
        chunk = self.chunk_frames // PATCH_FRAMES * PATCH_FRAMES
        frames = logmel.shape[-1]
        chunks, lengths = _cut(logmel, chunk, 1 + (frames - PATCH_FRAMES) // chunk)
        tokens = self.frame_read.tokens(self.encoder, chunks, lengths)
        return tokens.reshape(logmel.shape[0], -1, tokens.shape[-1])[:, : self.encoder.count(frames)]

    def _counted(self, logmel: Tensor) -> tuple[Tensor, Tensor, int]:
        """The chunks that count, as `chunks.counted_chunks` says, their lengths, and how many a clip has."""
        chunk = self.chunk_frames
        number = 1 + logmel[:, :, chunk // 2 + 1 :].shape[-1] // chunk
        return *_cut(logmel, chunk, number), number


def _cut(logmel: Tensor, chunk: int, number: int) -> tuple[Tensor, Tensor]:
    """Consecutive chunks `(B * number, 64, W)` and their lengths `(B * number,)`.

    W is `chunk`, or the length of a shorter clip. Beyond its end a clip has its last frame: the lengths say
    that this does not count.
    """
    batch, _, frames = logmel.shape
    width = logmel[:, :, :chunk].shape[-1]
    where = torch.arange(number * width).clamp(max=frames - 1)
    chunks = logmel.index_select(2, where).reshape(batch, N_MELS, number, width).transpose(1, 2)
    lengths = (frames - torch.arange(number) * width).clamp(max=width)
    return chunks.reshape(batch * number, N_MELS, width), lengths.repeat(batch)


class MatrixFrontEnd(nn.Module):
    """The front end with its Fourier transform as two small matrix products.

    Bin `k1 + 32 k2` of a frame is the sum over `n2` of exp(-2 pi i n2 k2 / 32) times the sum over `n1` of
    sample `n = 32 n1 + n2`, windowed, times exp(-2 pi i n k1 / 1024). The inner sums of all frames are a
    convolution over rows of 32 samples, a group for each `n2`; the bins with `k1` beyond 16 are conjugates
    of others. ONNX Runtime's own transform, or one product with all bins, takes several times as long.
    """

    inner: Tensor
    outer: Tensor
    filterbank: Tensor

    def __init__(self) -> None:
        super().__init__()
        size = torch.arange(RADIX, dtype=torch.float64)
        turns = torch.arange(N_FFT, dtype=torch.float64) * size[:HALF, None] % N_FFT / N_FFT  # (k1, n)
        waves = torch.stack([(2 * math.pi * turns).cos(), -(2 * math.pi * turns).sin()])
        waves = waves * torch.hann_window(N_FFT, periodic=True, dtype=torch.float64)
        inner = waves.reshape(2, HALF, RADIX, RADIX).permute(3, 1, 0, 2)  # (n2, k1, re and im, n1)
        self.register_buffer("inner", inner.reshape(RADIX * HALF * 2, 1, RADIX).float(), persistent=False)
        angle = 2 * math.pi * (size * size[:, None] % RADIX) / RADIX  # (k2, n2)
        real = torch.stack([angle.cos(), angle.sin()], -1).flatten(1)  # of inner sums, re and im alternating
        imaginary = torch.stack([-angle.sin(), angle.cos()], -1).flatten(1)
        self.register_buffer("outer", torch.cat([real, imaginary]).float(), persistent=False)  # (64, 64)
        bins = torch.arange(HALF)[:, None] + RADIX * torch.arange(RADIX)  # (k1, k2)
        filters = mel_filterbank()[torch.minimum(bins, N_FFT - bins)]  # (k1, k2, 64)
        # k1 of 0 and 16 have both a bin and its conjugate
        filters[bins > N_FFT // 2] *= torch.where(bins[bins > N_FFT // 2] % (HALF - 1) == 0, 0.0, 1.0)[
            :, None
        ]
        self.register_buffer("filterbank", filters.flatten(0, 1).T.contiguous(), persistent=False)

    def forward(self, waveform: Tensor) -> Tensor:
        batch = waveform.shape[0]
        samples = MIN_SAMPLES + waveform[:, MIN_SAMPLES:].shape[-1]
        waveform = nn.functional.pad(waveform, (0, MIN_SAMPLES))[:, :samples]
        frames = samples // HOP + 1
        waveform = nn.functional.pad(waveform[:, None], (N_FFT // 2, N_FFT // 2), mode="reflect")[:, 0]
        rows = waveform[:, : (frames - 1) * HOP + N_FFT].reshape(batch, -1, RADIX).transpose(1, 2)
        inner = nn.functional.conv1d(rows, self.inner, stride=HOP // RADIX, groups=RADIX)
        inner = inner.reshape(batch, RADIX, HALF, 2, frames).transpose(1, 2)
        squares = (self.outer @ inner.reshape(batch, HALF, 2 * RADIX, frames)).square()
        power = (squares[:, :, :RADIX] + squares[:, :, RADIX:]).reshape(batch, HALF * RADIX, frames)
        return normalise(to_decibel(self.filterbank @ power))
