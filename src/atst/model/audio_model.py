"""A trained encoder with its front end: embed files and arrays, save, load."""

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from atst.errors import UsageError
from atst.model import folder as model_folder
from atst.model import whitening
from atst.model.attention import Maps, cls_attention
from atst.model.chunks import Encoded, encode, encode_frames, merge
from atst.model.conv_encoder import STEMS
from atst.model.encoder import PATCH_FRAMES
from atst.model.folder import WHITENING, ModelConfig
from atst.model.frontend import FRAMES_PER_SECOND, SAMPLE_RATE, FrontEnd
from atst.model.matmul import fast_products
from atst.model.readout import ReadOut
from atst.sound.clips import as_clips, windows
from atst.sound.windows import WINDOW_SECONDS


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
        return "stem-last" if self.config.stem == "conv" else "blocks"

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
        states = self.encoder.state_dict(), self.whitening.state_dict()
        return model_folder.fingerprint(self.config, *states)

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
        pieces = ((n, window) for n, clip in enumerate(clips) for window in windows(clip, sample_rate))
        parts, owners, seconds = list[Encoded](), list[int](), list[float]()
        while batch := list(islice(pieces, batch_size)):
            owners += [owner for owner, _ in batch]
            seconds += [len(window) / SAMPLE_RATE for _, window in batch]
            logmels = self.frontend.each([window for _, window in batch])
            parts.append(self._encode(logmels, read, batch_size))
        result = self._vectors(merge(parts, owners, seconds), read).cpu().numpy()
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
        centres, tokens = list[NDArray[np.float64]](), list[Tensor]()
        for number, window in enumerate(windows(clips[0], sample_rate)):
            with self._autocast():
                logmel = self.frontend.each([window])[0][:, : round(WINDOW_SECONDS * FRAMES_PER_SECOND)]
                for at, part in encode_frames(self.encoder, read, logmel, self.config.chunk_frames):
                    centres.append(number * WINDOW_SECONDS + at / FRAMES_PER_SECOND)
                    tokens.append(part)
        return np.concatenate(centres), torch.cat(tokens).float().cpu().numpy()

    @torch.inference_mode()
    def embed_logmels(self, logmels: Sequence[Tensor], **options: Any) -> NDArray[np.float32]:
        """Embed clips given as the front end's log-mels, each `(64, T)` with at least 4 frames.

        Returns `(len(logmels), D)`, as `embed` does for clips of at most 60 s; options as of `pool_logmels`.
        """
        return self.pool_logmels(logmels, **options).cpu().numpy()

    def pool_logmels(
        self,
        logmels: Sequence[Tensor],
        layers: int | None = None,
        pooling: str | None = None,
        batch_size: int = 32,
        levels: str | None = None,
    ) -> Tensor:
        """`embed_logmels` as a tensor `(len(logmels), D)` that gradients flow through; options of `embed`."""
        read = self.readout(layers, pooling, levels)
        return self._vectors(self._encode(logmels, read, batch_size), read)

    @torch.no_grad()
    def whiten(self, logmels: Iterable[Tensor], batch_size: int = 32) -> None:
        """Fit partial whitening to the log-mels of unlabelled clips; it becomes the model's own read-out.

        Fewer than `LEAST_CLIPS` say nothing of what sounds share, and change nothing.
        """
        clips = iter(logmels)
        batches = iter(lambda: list(islice(clips, batch_size)), [])
        parts = (self.pool_logmels(batch, None, "statistics", batch_size, "all") for batch in batches)
        self.whitening.update(whitening.fit(parts, self.encoder.stem_sizes))

    def _encode(self, logmels: Sequence[Tensor], read: ReadOut, batch_size: int) -> Encoded:
        with self._autocast():
            return encode(self.encoder, read, logmels, self.config.chunk_frames, batch_size)

    def _vectors(self, encoded: Encoded, read: ReadOut) -> Tensor:
        if isinstance(encoded, Tensor):
            return encoded
        vectors = encoded.pooled(read.has_statistics)
        return self.whitening[read.levels](vectors) if read.pooling == "whitened" else vectors

    def load_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Take the tensors of a model folder. Raises `RuntimeError` where they do not fit."""
        own = {k.removeprefix(WHITENING): v for k, v in tensors.items() if k.startswith(WHITENING)}
        self.whitening.update(whitening.unfitted(own))
        self.whitening.load_state_dict(own)
        for levels in self.whitening:
            size = ReadOut("statistics", self.depth, levels).size(self.encoder)
            taken = own[f"{levels}.mean"].numel()
            if taken != size:
                raise RuntimeError(f"whitening of levels '{levels}' takes {taken} values, not {size}")
        self.encoder.load_state_dict({k: v for k, v in tensors.items() if not k.startswith(WHITENING)})

    def save(self, folder: str | Path, *, half: bool = False) -> None:
        """Write `config.json`, `model.safetensors` and a model card; an existing model is replaced.

        `half` stores matrices in float16, half the size; they are loaded, and computed with, as float32.
        """
        tensors = self.encoder.state_dict(), self.whitening.state_dict()
        model_folder.write(folder, self.config, *tensors, half)

    def _autocast(self) -> AbstractContextManager[Any]:
        """Computes in `precision`; float32 leaves it to an autocast of whoever trains the model."""
        device = self.frontend.window.device
        if self.precision == "float32":
            return fast_products(device)
        return torch.autocast(device.type, torch.bfloat16)
