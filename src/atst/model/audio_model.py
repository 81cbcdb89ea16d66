"""A trained encoder with its front end: embed files and arrays, save, load."""

import hashlib
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from itertools import groupby, islice
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from atst.errors import UsageError
from atst.model import folder as model_folder
from atst.model.attention import Maps, cls_attention
from atst.model.conv_encoder import STEMS
from atst.model.encoder import PATCH_FRAMES
from atst.model.folder import WHITENING, ModelConfig
from atst.model.frontend import FRAMES_PER_SECOND, SAMPLE_RATE, FrontEnd
from atst.model.moments import Moments
from atst.model.readout import ReadOut, cls_and_means
from atst.model.whitening import LEAST_CLIPS, Whitening
from atst.sound.clips import as_clips, windows
from atst.sound.windows import WINDOW_SECONDS, Waveform

FRONT_END_SAMPLES = 1 << 20  # of a batch of the front end, whose spectrum takes 26 bytes a sample
WHITENED = ("all", "stem-last")  # levels that a training fits whitening for


class AudioModel(nn.Module):
    """Front end, encoder and config; in eval mode. `name` is where it came from, for reports."""

    def __init__(self, config: ModelConfig, name: str = "model") -> None:
        super().__init__()
        self.config = config
        self.name = name
        self.precision = "float32"  # or bf16: of the encoder's products, in `embed` and its like
        self.frontend = FrontEnd()
        self.encoder: Any = STEMS[config.stem](config.size)
        self.whitening = nn.ModuleDict()  # by levels
        self.eval()

    @property
    def depth(self) -> int:
        """Number of transformer blocks."""
        return int(self.encoder.depth)

    @property
    def width(self) -> int:
        """Values of a block's token."""
        return int(self.encoder.width)

    @property
    def embedding_size(self) -> int:
        """Values of a clip's embedding by the model's own read-out."""
        return self.readout().size(self.encoder)

    def readout(
        self, layers: int | None = None, pooling: str | None = None, levels: str | None = None
    ) -> ReadOut:
        """How `embed` reads the encoder with these options. Raises `UsageError` for one it does not have."""
        own = self.config.readout
        return ReadOut.of(
            self.encoder,
            own.get("layers") if layers is None else layers,
            pooling or own.get("pooling"),
            levels or own.get("levels"),
            set(self.whitening),
        )

    def read_as(
        self, layers: int | None = None, pooling: str | None = None, levels: str | None = None
    ) -> Self:
        """Make this the model's own read-out, which `embed` and `save` use from now on; the model itself."""
        asked = {"layers": layers, "pooling": pooling, "levels": levels}
        given = {key: value for key, value in asked.items() if value is not None}
        self.readout(layers, pooling, levels)  # raises what is wrong with it
        self.config = replace(self.config, readout=self.config.readout | given)
        return self

    @property
    def frame_levels(self) -> str:
        """Which levels `embed_frames` gives by default."""
        return "blocks" if self.encoder.has_cls else "stem-last"

    @property
    def token_seconds(self) -> float:
        """From one token's centre to that of the next."""
        return PATCH_FRAMES / FRAMES_PER_SECOND

    def options(
        self,
        layers: int | None = None,
        pooling: str | None = None,
        levels: str | None = None,
        frames: bool = False,
    ) -> dict[str, Any]:
        """Of `embed`, or of `embed_frames` and pooling: what is asked for, else the model's own."""
        asked = ("statistics", levels or self.frame_levels) if frames else (pooling, levels)
        return self.readout(layers, *asked).options()

    @property
    def fingerprint(self) -> str:
        """A hash of weights and segment length, computed each time: equal for models that embed alike."""
        digest = hashlib.sha256(f"{self.config.size} {self.config.segment_seconds}".encode())
        for key, tensor in sorted(self.encoder.state_dict().items()):
            digest.update(key.encode())
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        for key, tensor in sorted(self.whitening.state_dict().items()):
            digest.update(key.encode() + tensor.cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()[:16]

    def forward(self, waveforms: Tensor, **readout: Any) -> Tensor:
        """Waveforms `(B, N)` at 16 kHz to embeddings `(B, embedding_size)`, which gradients flow through.

        For training in a loop of one's own; clips of at most 60 s. `readout` as in `pool_logmels`.
        """
        return self.pool_logmels(self.frontend(waveforms), **readout)

    def attention(self, sound: Any, *, sample_rate: int | None = None) -> Maps:
        """Times `(P,)` in seconds and the last block's CLS attention `(heads, P)`: see `cls_attention`."""
        return cls_attention(self, sound, sample_rate)

    @torch.inference_mode()
    def embed(
        self,
        sound: Any,
        *,
        sample_rate: int | None = None,
        layers: int | None = None,
        pooling: str | None = None,
        levels: str | None = None,
        batch_size: int = 32,
    ) -> NDArray[np.float32]:
        """Embed whole clips: a path, a list of paths, or arrays or tensors with `sample_rate`.

        Returns `(D,)` for one path or an `(N,)` array, `(B, D)` for a list or a `(B, N)` array; `D` is
        `embedding_size` unless another read-out is asked for. An encoder of patches gives the CLS tokens of
        the last `layers` blocks (1), older first, then their mean tokens. A clip longer than the model's
        segment is embedded in consecutive chunks whose values are averaged (a chunk counts if more than half
        of it exists); recordings over 60 s go window by window, averaged by duration. `pooling="published"`
        divides token sums as the paper's evaluation code does (see docs/fidelity.md).

        `pooling="statistics"`, the convolutional encoders' own, gives mean, standard deviation and maximum
        over all tokens of the clip, of the `levels`: `blocks` (the last `layers`), `stem`, `stem-last` (the
        last convolution), or `all` (stem and blocks). A trained one has `pooling="whitened"` as its own,
        for `all` and `stem-last`: statistics with the directions shrunk that all sounds share.

        Raises `UsageError` for a read-out that the model does not have, and `AudioError` for what cannot be
        read, also where its decoder crashes: files are decoded in a process of their own, which takes 0.4 s
        to start, once.
        """
        read = self.readout(layers, pooling, levels)
        single, clips = as_clips(sound)
        pieces: list[Any] = []
        owners: list[int] = []
        seconds: list[float] = []
        pending: list[Waveform] = []
        for owner, clip in enumerate(clips):
            for window in windows(clip, sample_rate):
                owners.append(owner)
                seconds.append(len(window) / SAMPLE_RATE)
                pending.append(window)
                if len(pending) >= batch_size:
                    pieces.append(self._pieces(self._logmels(pending), read, batch_size))
                    pending = []
        if pending:
            pieces.append(self._pieces(self._logmels(pending), read, batch_size))
        if not pieces:
            return np.zeros((0, read.size(self.encoder)), dtype=np.float32)
        if read.has_cls(self.encoder):
            result = _weighted_mean(torch.cat(pieces).cpu().numpy(), np.array(owners), np.array(seconds))
        else:
            whose = torch.tensor(owners, device=pieces[0].count.device)
            result = self._vectors(Moments.join(pieces).merge(whose, len(clips)), read).cpu().numpy()
        return result[0] if single else result

    @torch.inference_mode()
    def embed_frames(
        self,
        sound: Any,
        *,
        sample_rate: int | None = None,
        layers: int | None = None,
        levels: str | None = None,
    ) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
        """Embed each 40 ms token of one clip (a path or an `(N,)` array), the tail included.

        Returns the tokens' centres in seconds `(P,)` and the tokens `(P, layers * D)`, older block first.
        Patches see their own chunk of `segment_seconds` only. A convolutional encoder gives the tokens of
        its last convolution unless `levels` says otherwise.
        """
        read = self.readout(layers, "statistics", levels or self.frame_levels)
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
                with self._autocast():
                    tokens.append(read.tokens(self.encoder, logmel[:, :, start:end])[0])  # (P, D)
                centres = start + np.arange(len(tokens[-1])) * PATCH_FRAMES + self.encoder.first_centre
                times.append(number * WINDOW_SECONDS + centres / FRAMES_PER_SECOND)
        return np.concatenate(times), torch.cat(tokens).float().cpu().numpy()

    @torch.inference_mode()
    def embed_logmels(
        self,
        logmels: Sequence[Tensor],
        *,
        layers: int | None = None,
        pooling: str | None = None,
        levels: str | None = None,
        batch_size: int = 32,
    ) -> NDArray[np.float32]:
        """Embed clips given as the front end's log-mels, each `(64, T)` with at least 4 frames.

        Returns `(len(logmels), D)`, as `embed` does for clips of at most 60 s.
        """
        return self.pool_logmels(logmels, layers, pooling, batch_size, levels).cpu().numpy()

    def pool_logmels(
        self,
        logmels: Sequence[Tensor],
        layers: int | None = None,
        pooling: str | None = None,
        batch_size: int = 32,
        levels: str | None = None,
    ) -> Tensor:
        """`embed_logmels` as a tensor `(len(logmels), D)` that gradients flow through."""
        read = self.readout(layers, pooling, levels)
        pieces = self._pieces(logmels, read, batch_size)
        return self._vectors(pieces, read) if isinstance(pieces, Moments) else pieces

    @torch.no_grad()
    def whiten(self, logmels: Iterable[Tensor], batch_size: int = 32) -> None:
        """Fit partial whitening to the log-mels of unlabelled clips; it becomes the model's own read-out.

        Fewer than `LEAST_CLIPS` say nothing of what sounds share, and change nothing.
        """
        vectors: dict[str, list[Tensor]] = {levels: [] for levels in WHITENED}
        clips = iter(logmels)
        while batch := list(islice(clips, batch_size)):
            for levels, parts in vectors.items():
                parts.append(self.pool_logmels(batch, None, "statistics", batch_size, levels))
        if sum(map(len, vectors[WHITENED[0]])) < LEAST_CLIPS:
            return
        for levels, parts in vectors.items():
            self.whitening[levels] = Whitening.fit(torch.cat(parts))

    def _vectors(self, moments: Moments, read: ReadOut) -> Tensor:
        vectors = moments.pooled(read.has_statistics)
        return self.whitening[read.levels](vectors) if read.pooling == "whitened" else vectors

    def _pieces(self, logmels: Sequence[Tensor], read: ReadOut, batch_size: int) -> Tensor | Moments:
        """What is merged over the windows of a clip: CLS and mean tokens, or the moments of all tokens."""
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
        batches = [chunks[at : at + batch_size] for at in range(0, len(chunks), batch_size)]
        owners = torch.tensor([chunk.owner for chunk in chunks], device=logmels[0].device)
        with self._autocast():
            if not read.has_cls(self.encoder):
                moments = [self._moments(batch, read) for batch in batches]
                return Moments.join(moments).merge(owners, len(logmels))
            vectors = torch.cat([self._pool(batch, read.layers, read.pooling).float() for batch in batches])
        total = vectors.new_zeros(len(logmels), vectors.shape[1]).index_add(0, owners, vectors)
        return total / torch.bincount(owners, minlength=len(logmels))[:, None]

    def load_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Take the tensors of a model folder. Raises `RuntimeError` where they do not fit."""
        whitening = {
            key.removeprefix(WHITENING): value for key, value in tensors.items() if key.startswith(WHITENING)
        }
        for levels in WHITENED:
            directions = whitening.get(f"{levels}.directions")
            if directions is not None and directions.ndim == 2:
                self.whitening[levels] = Whitening(directions.shape[1], len(directions))
        self.whitening.load_state_dict(whitening)
        self.encoder.load_state_dict({k: v for k, v in tensors.items() if not k.startswith(WHITENING)})

    def save(self, folder: str | Path, *, half: bool = False) -> None:
        """Write `config.json`, `model.safetensors` and a model card; an existing model is replaced.

        `half` stores matrices in float16, half the size; they are loaded, and computed with, as float32.
        """
        tensors = self.encoder.state_dict(), self.whitening.state_dict()
        model_folder.write(folder, self.config, *tensors, half)

    def _autocast(self) -> AbstractContextManager[Any]:
        """Computes in `precision`; float32 leaves it to an autocast of whoever trains the model."""
        if self.precision == "float32":
            return nullcontext()
        return torch.autocast(self.frontend.window.device.type, torch.bfloat16)

    def _logmel(self, waveform: Waveform) -> Tensor:
        where = self.frontend.window.device
        return self.frontend(torch.from_numpy(waveform).to(where)[None])[0]  # (64, T)

    def _logmels(self, waveforms: Sequence[Waveform]) -> list[Tensor]:
        """The log-mel `(64, T)` of each; neighbours of one length together, as far as memory allows."""
        logmels: list[Tensor] = []
        for length, group in groupby(waveforms, key=len):
            alike = list(group)
            most = max(1, FRONT_END_SAMPLES // length)
            for at in range(0, len(alike), most):
                batch = torch.from_numpy(np.stack(alike[at : at + most]))
                logmels += self.frontend(batch.to(self.frontend.window.device)).unbind()
        return logmels

    def _moments(self, batch: Sequence["_Chunk"], read: ReadOut) -> Moments:
        """Moments over time of each chunk's tokens."""
        logmels, lengths = _stack(batch)
        if _equal(lengths):
            return Moments.of(read.tokens(self.encoder, logmels))
        lengths = lengths.to(logmels.device)
        tokens = read.tokens(self.encoder, logmels, lengths)  # (B, P, F)
        positions = torch.arange(tokens.shape[1], device=logmels.device)
        return Moments.of(tokens, positions < self.encoder.count(lengths)[:, None])

    def _pool(self, batch: Sequence["_Chunk"], layers: int, pooling: str) -> Tensor:
        """CLS tokens then mean tokens of each chunk, `(len(batch), 2 * layers * D)`."""
        logmels, lengths = _stack(batch)
        where = logmels.device
        masked = None if _equal(lengths) else lengths.to(where)
        outputs = self.encoder(logmels, lengths=masked, layers=layers)
        patches = lengths // PATCH_FRAMES
        divisor = patches if pooling == "mean" else torch.tensor([chunk.patches_left for chunk in batch])
        return cls_and_means(outputs, patches.to(where), divisor.to(where))


@dataclass
class _Chunk:
    owner: int  # index of the window it was cut from
    logmel: Tensor  # (64, T)
    patches_left: int  # of the window, from this chunk's start on


def _stack(batch: Sequence[_Chunk]) -> tuple[Tensor, Tensor]:
    """Log-mels of a batch `(B, 64, T)`, padded at the end, and their lengths `(B,)`, on the CPU."""
    lengths = torch.tensor([chunk.logmel.shape[-1] for chunk in batch])
    width = int(lengths.max())
    padded = [nn.functional.pad(chunk.logmel, (0, width - chunk.logmel.shape[-1])) for chunk in batch]
    return torch.stack(padded), lengths


def _equal(lengths: Tensor) -> bool:
    """Whether no clip is padded, and none needs a mask."""
    return bool((lengths == lengths[0]).all())


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
