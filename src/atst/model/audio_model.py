"""A trained encoder with its front end: embed files and arrays, save, load."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from atst.errors import UsageError, unknown
from atst.model import folder as model_folder
from atst.model.attention import Maps, cls_attention
from atst.model.encoder import PATCH_FRAMES, Encoder
from atst.model.folder import ModelConfig
from atst.model.frontend import FRAMES_PER_SECOND, SAMPLE_RATE, FrontEnd
from atst.sound.clips import as_clips, windows
from atst.sound.windows import WINDOW_SECONDS, Waveform

POOLINGS = ("mean", "published")


class AudioModel(nn.Module):
    """Front end, encoder and config; in eval mode. `name` is where it came from, for reports."""

    def __init__(self, config: ModelConfig, name: str = "model") -> None:
        super().__init__()
        self.config = config
        self.name = name
        self.frontend = FrontEnd()
        self.encoder = Encoder(config.size)
        self.eval()

    @property
    def depth(self) -> int:
        return self.encoder.depth

    @property
    def width(self) -> int:
        return self.encoder.width

    @property
    def fingerprint(self) -> str:
        """A hash of weights and segment length, computed each time: equal for models that embed alike."""
        digest = hashlib.sha256(f"{self.config.size} {self.config.segment_seconds}".encode())
        for key, tensor in sorted(self.encoder.state_dict().items()):
            digest.update(key.encode())
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()[:16]

    def forward(self, waveforms: Tensor, **readout: Any) -> Tensor:
        """Waveforms `(B, N)` at 16 kHz to embeddings `(B, 2 * D)`, which gradients flow through.

        For training in a loop of one's own; clips of at most 60 s. `readout` as in `pool_logmels`.
        """
        return self.pool_logmels(self.frontend(waveforms), **readout)

    def attention(self, sound: Any, *, sample_rate: int | None = None) -> Maps:
        """Times `(P,)` in seconds and the last block's CLS attention `(heads, P)`: see `cls_attention`."""
        return cls_attention(self, sound, sample_rate)

    @torch.no_grad()
    def embed(
        self,
        sound: Any,
        *,
        sample_rate: int | None = None,
        layers: int = 1,
        pooling: str = "mean",
        batch_size: int = 32,
    ) -> NDArray[np.float32]:
        """Embed whole clips: a path, a list of paths, or arrays or tensors with `sample_rate`.

        Returns `(2 * layers * D,)` for one path or an `(N,)` array, `(B, 2 * layers * D)` for a list
        or a `(B, N)` array: the CLS tokens of the last `layers` blocks, older first, then their mean
        tokens. A clip longer than the model's segment is embedded in consecutive chunks whose values
        are averaged (a chunk counts if more than half of it exists); recordings over 60 s go window
        by window, averaged by duration. `pooling="published"` divides token sums as the paper's
        evaluation code does (see docs/fidelity.md). Raises `AudioError` for what cannot be read, also
        where its decoder crashes: files are decoded in a process of their own, which takes 0.4 s to
        start, once.
        """
        if pooling not in POOLINGS:
            raise unknown("pooling", pooling, POOLINGS)
        self.check_layers(layers)
        options: dict[str, Any] = {"layers": layers, "pooling": pooling, "batch_size": batch_size}
        single, clips = as_clips(sound)
        vectors: list[NDArray[np.float32]] = []
        owners: list[int] = []
        seconds: list[float] = []
        pending: list[Waveform] = []
        for owner, clip in enumerate(clips):
            for window in windows(clip, sample_rate):
                owners.append(owner)
                seconds.append(len(window) / SAMPLE_RATE)
                pending.append(window)
                if len(pending) >= batch_size:
                    vectors.append(self.embed_logmels([self._logmel(w) for w in pending], **options))
                    pending = []
        if pending:
            vectors.append(self.embed_logmels([self._logmel(w) for w in pending], **options))
        if not vectors:
            return np.zeros((0, 2 * layers * self.width), dtype=np.float32)
        result = _weighted_mean(np.concatenate(vectors), np.array(owners), np.array(seconds))
        return result[0] if single else result

    @torch.no_grad()
    def embed_frames(
        self, sound: Any, *, sample_rate: int | None = None, layers: int = 1
    ) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
        """Embed each 40 ms patch of one clip (a path or an `(N,)` array), the tail included.

        Returns the patches' centres in seconds `(P,)` and their tokens `(P, layers * D)`, older
        block first. Patches see their own chunk of `segment_seconds` only.
        """
        self.check_layers(layers)
        single, clips = as_clips(sound)
        if not single:
            raise UsageError("embed_frames takes one clip; call it once for each.")
        chunk = self.config.chunk_frames // PATCH_FRAMES * PATCH_FRAMES
        tokens: list[Tensor] = []
        times: list[NDArray[np.float64]] = []
        for number, window in enumerate(windows(clips[0], sample_rate)):
            logmel = self._logmel(window)[None]  # (1, 64, T)
            frames = min(logmel.shape[-1], int(WINDOW_SECONDS * FRAMES_PER_SECOND))
            for start in range(0, frames - PATCH_FRAMES + 1, chunk):
                end = min(start + chunk, frames)
                outputs = self.encoder(logmel[:, :, start:end], layers=layers)
                tokens.append(torch.cat([out[0, 1:] for out in outputs], dim=-1))  # (P, layers * D)
                centres = start + np.arange(len(tokens[-1])) * PATCH_FRAMES + (PATCH_FRAMES - 1) / 2
                times.append(number * WINDOW_SECONDS + centres / FRAMES_PER_SECOND)
        return np.concatenate(times), torch.cat(tokens).float().cpu().numpy()

    @torch.no_grad()
    def embed_logmels(
        self, logmels: Sequence[Tensor], *, layers: int = 1, pooling: str = "mean", batch_size: int = 32
    ) -> NDArray[np.float32]:
        """Embed clips given as the front end's log-mels, each `(64, T)` with at least 4 frames.

        Returns `(len(logmels), 2 * layers * D)`, as `embed` does for clips of at most 60 s.
        """
        return self.pool_logmels(logmels, layers, pooling, batch_size).cpu().numpy()

    def pool_logmels(
        self, logmels: Sequence[Tensor], layers: int = 1, pooling: str = "mean", batch_size: int = 32
    ) -> Tensor:
        """`embed_logmels` as a tensor `(len(logmels), 2 * layers * D)` that gradients flow through."""
        chunks = [
            _Chunk(
                i,
                logmel[:, start : start + self.config.chunk_frames],
                (logmel.shape[-1] - start) // PATCH_FRAMES,
            )
            for i, logmel in enumerate(logmels)
            for start in counted_chunks(logmel.shape[-1], self.config.chunk_frames)
        ]
        chunks.sort(key=lambda chunk: chunk.logmel.shape[-1])
        where = logmels[0].device
        total = torch.zeros(len(logmels), 2 * layers * self.width, device=where)
        count = torch.zeros(len(logmels), 1, device=where)
        for at in range(0, len(chunks), batch_size):
            batch = chunks[at : at + batch_size]
            owners = torch.tensor([chunk.owner for chunk in batch], device=where)
            total = total.index_add(0, owners, self._pool(batch, layers, pooling).float())
            count.index_add_(0, owners, torch.ones(len(batch), 1, device=where))
        return total / count

    def save(self, folder: str | Path) -> None:
        """Write `config.json`, `model.safetensors` and a model card; an existing model is replaced."""
        model_folder.write(folder, self.config, self.encoder.state_dict())

    def check_layers(self, layers: int) -> None:
        """Raises `UsageError` when the encoder does not have that many blocks."""
        if not 1 <= layers <= self.depth:
            raise UsageError(
                f"layers (--layers) must be 1 to {self.depth} for a '{self.config.size}' encoder, "
                f"not {layers}."
            )

    def _logmel(self, waveform: Waveform) -> Tensor:
        where = self.encoder.cls_token.device
        return self.frontend(torch.from_numpy(waveform).to(where)[None])[0]  # (64, T)

    def _pool(self, batch: Sequence["_Chunk"], layers: int, pooling: str) -> Tensor:
        """CLS tokens then mean tokens of each chunk, `(len(batch), 2 * layers * D)`."""
        lengths = torch.tensor([chunk.logmel.shape[-1] for chunk in batch])
        width = int(lengths.max())
        where = batch[0].logmel.device
        logmels = torch.stack([nn.functional.pad(c.logmel, (0, width - c.logmel.shape[-1])) for c in batch])
        outputs = self.encoder(logmels, lengths=lengths.to(where), layers=layers)
        patches = lengths // PATCH_FRAMES
        divisor = patches if pooling == "mean" else torch.tensor([chunk.patches_left for chunk in batch])
        valid = (torch.arange(width // PATCH_FRAMES)[None, :] < patches[:, None]).to(where)  # (B, P)
        means = [(out[:, 1:] * valid[:, :, None]).sum(1) / divisor[:, None].to(where) for out in outputs]
        return torch.cat([out[:, 0] for out in outputs] + means, dim=-1)


@dataclass
class _Chunk:
    owner: int  # index of the window it was cut from
    logmel: Tensor  # (64, T)
    patches_left: int  # of the window, from this chunk's start on


def counted_chunks(frames: int, chunk: int) -> list[int]:
    """Start frames of the chunks that count: the first always, a later one if over half of it exists."""
    return [start for start in range(0, frames, chunk) if start == 0 or frames - start > chunk // 2]


def _weighted_mean(
    vectors: NDArray[np.float32], owners: NDArray[np.int64], weights: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Average of each owner's rows by weight, `(owners, D)`; a single row is passed as it is."""
    if len(np.unique(owners)) == len(owners):
        return vectors
    total = np.zeros((owners.max() + 1, vectors.shape[1]))
    np.add.at(total, owners, vectors * weights[:, None])
    return (total / np.bincount(owners, weights)[:, None]).astype(np.float32)
