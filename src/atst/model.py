"""A trained encoder with its front end: embed files and arrays, save, load."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as as_safetensors
from torch import Tensor, nn

from atst import audio
from atst import device as devices
from atst.atomic import new_folder
from atst.encoder import MAX_PATCHES, PATCH_FRAMES, SIZES, Encoder
from atst.errors import AudioError, ModelError, UsageError, unknown
from atst.frontend import FRAMES_PER_SECOND, HOP, SAMPLE_RATE, FrontEnd

FORMAT_VERSION = 1
WINDOW_SECONDS = 60.0
SHORTEST_SEGMENT = (PATCH_FRAMES - 1) / FRAMES_PER_SECOND
LONGEST_SEGMENT = (MAX_PATCHES * PATCH_FRAMES + PATCH_FRAMES - 2) / FRAMES_PER_SECOND
POOLINGS = ("mean", "published")

Waveform = NDArray[np.float32]


@dataclass
class ModelConfig:
    """What `config.json` holds. `training` says how the encoder came to be, free form."""

    size: str
    segment_seconds: float = 6.0
    training: dict[str, Any] = field(default_factory=dict)
    format_version: int = FORMAT_VERSION

    def __post_init__(self) -> None:
        if not isinstance(self.size, str) or self.size not in SIZES:
            raise unknown("encoder size", str(self.size), SIZES)
        seconds = self.segment_seconds
        if not isinstance(seconds, int | float) or not SHORTEST_SEGMENT <= seconds <= LONGEST_SEGMENT:
            allowed = f"{SHORTEST_SEGMENT} to {LONGEST_SEGMENT} seconds fit one pass"
            raise ValueError(f"segment_seconds is {repr(seconds)[:50]}; {allowed}")

    @property
    def chunk_frames(self) -> int:
        """Frames of one encoder pass over a long clip: 601 for 6 s."""
        return int(self.segment_seconds * FRAMES_PER_SECOND + 1)


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

    @cached_property
    def fingerprint(self) -> str:
        """A hash of weights and segment length: equal for models that embed alike."""
        digest = hashlib.sha256(f"{self.config.size} {self.config.segment_seconds}".encode())
        for key, tensor in sorted(self.encoder.state_dict().items()):
            digest.update(key.encode())
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()[:16]

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
        evaluation code does (see docs/fidelity.md). Raises `AudioError` for what cannot be read.
        """
        if pooling not in POOLINGS:
            raise unknown("pooling", pooling, POOLINGS)
        self.check_layers(layers)
        options: dict[str, Any] = {"layers": layers, "pooling": pooling, "batch_size": batch_size}
        single, clips = _as_clips(sound)
        vectors: list[NDArray[np.float32]] = []
        owners: list[int] = []
        seconds: list[float] = []
        pending: list[Waveform] = []
        for owner, clip in enumerate(clips):
            for window in _windows(clip, sample_rate):
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
        single, clips = _as_clips(sound)
        if not single:
            raise UsageError("embed_frames takes one clip; call it once for each.")
        chunk = self.config.chunk_frames // PATCH_FRAMES * PATCH_FRAMES
        tokens: list[Tensor] = []
        times: list[NDArray[np.float64]] = []
        for number, window in enumerate(_windows(clips[0], sample_rate)):
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
        total = torch.zeros(len(logmels), 2 * layers * self.width)
        count = torch.zeros(len(logmels), 1)
        for at in range(0, len(chunks), batch_size):
            batch = chunks[at : at + batch_size]
            owners = torch.tensor([chunk.owner for chunk in batch])
            total.index_add_(0, owners, self._pool(batch, layers, pooling).float().cpu())
            count.index_add_(0, owners, torch.ones(len(batch), 1))
        return (total / count).numpy()

    def save(self, folder: str | Path) -> None:
        """Write `config.json`, `model.safetensors` and a model card; an existing model is replaced."""
        with new_folder(folder) as temporary:
            (temporary / "config.json").write_text(json.dumps(asdict(self.config), indent=2) + "\n")
            weights = {
                key: value.detach().cpu().contiguous() for key, value in self.encoder.state_dict().items()
            }
            # save_file() would make a file that only its owner may read
            (temporary / "model.safetensors").write_bytes(as_safetensors(weights))
            (temporary / "README.md").write_text(_model_card(self))

    def check_layers(self, layers: int) -> None:
        """Raises `UsageError` when the encoder does not have that many blocks."""
        if not 1 <= layers <= self.depth:
            raise UsageError(
                f"layers must be 1 to {self.depth} for a '{self.config.size}' encoder, not {layers}."
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
        own = lengths // PATCH_FRAMES
        divisor = own if pooling == "mean" else torch.tensor([chunk.patches_left for chunk in batch])
        valid = (torch.arange(width // PATCH_FRAMES)[None, :] < own[:, None]).to(where)  # (B, P)
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


def load(model: str | Path, device: str = "cpu", *, seed: int = 0) -> Any:
    """Load any model that a command's `--model` takes, in eval mode.

    `model` is a model folder, a run folder, an authors' checkpoint (`.ckpt`), `random:SIZE` (an
    untrained encoder drawn from `seed`), or the feature baselines `logmel` and `opensmile`. Raises
    `ModelError` for a path that holds no usable model, `UsageError` for a name that means nothing.
    """
    name = str(model)
    where = devices.resolve(device)
    if name in ("logmel", "opensmile") and not Path(name).exists():
        from atst import baselines

        return baselines.LogMelBaseline() if name == "logmel" else baselines.OpenSmileBaseline()
    if name.startswith("random:") and not Path(name).exists():
        return _random(name, seed).to(where)
    path = Path(model)
    if path.is_dir():
        return _load_folder(path).to(where)
    if path.is_file():
        from atst import official

        return official.load(path).to(where)
    raise ModelError(
        f"{name}: no such model. Give a model folder, a run folder, a .ckpt file, "
        f"random:SIZE ({', '.join(SIZES)}), logmel or opensmile."
    )


def _random(name: str, seed: int) -> AudioModel:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return AudioModel(ModelConfig(size=name.removeprefix("random:")), name=name)


def _load_folder(folder: Path) -> AudioModel:
    for path in (folder, folder / "model"):
        if (path / "config.json").is_file():
            break
    else:
        raise ModelError(
            f"{folder}: not a model or run folder (no config.json in it or in its model/ folder)."
        )
    try:
        config = ModelConfig(**json.loads((path / "config.json").read_text()))
    except (ValueError, TypeError, UsageError) as error:
        raise ModelError(f"{path / 'config.json'}: cannot be used as a model's config: {error}") from None
    if config.format_version != FORMAT_VERSION:
        raise ModelError(
            f"{path}: format version {config.format_version}; this release reads {FORMAT_VERSION}."
        )
    model = AudioModel(config, name=str(folder))
    try:
        model.encoder.load_state_dict(load_file(path / "model.safetensors"))
    except (OSError, SafetensorError, RuntimeError) as error:
        first = str(error).strip().splitlines()
        raise ModelError(f"{path / 'model.safetensors'}: cannot be loaded: {' '.join(first)[:500]}") from None
    return model


def _as_clips(sound: Any) -> tuple[bool, list[Any]]:
    """Whether `sound` is a single clip, and the clips: paths or 1-D arrays."""
    if isinstance(sound, str | Path):
        return True, [sound]
    if isinstance(sound, Tensor):
        sound = sound.detach().cpu().numpy()
    if isinstance(sound, np.ndarray):
        if sound.ndim not in (1, 2):
            raise UsageError(f"an array of audio must be (N,) or (B, N), not {sound.shape}.")
        return sound.ndim == 1, [sound] if sound.ndim == 1 else list(sound)
    if isinstance(sound, Iterable):
        return False, list(sound)
    raise UsageError(
        f"cannot embed a {type(sound).__name__}: give a path, an array, a tensor or a list of them."
    )


def _windows(clip: Any, sample_rate: int | None) -> Iterator[Waveform]:
    """Consecutive waveforms of at most 60 s at 16 kHz of one clip, read as they are needed."""
    if isinstance(clip, str | Path):
        seconds = audio.info(clip).seconds
        start = 0.0
        yield audio.read(clip, 0.0, WINDOW_SECONDS if seconds > WINDOW_SECONDS else None)
        while (start := start + WINDOW_SECONDS) < seconds - HOP / SAMPLE_RATE:
            yield audio.read(clip, start, WINDOW_SECONDS)
        return
    if sample_rate is None:
        raise UsageError(
            "sample_rate is required for arrays, for example embed(waveform, sample_rate=16000)."
        )
    waveform = clip.detach().cpu().numpy() if isinstance(clip, Tensor) else np.asarray(clip)
    if waveform.ndim != 1:
        raise UsageError(f"each clip of a list must be (N,), not {waveform.shape}.")
    if waveform.size == 0:
        raise AudioError("an array of audio has no samples.")
    if not np.isfinite(waveform).all():
        raise AudioError("an array of audio holds non-finite samples.")
    waveform = audio.to_mono_16k(waveform, sample_rate)
    step = int(WINDOW_SECONDS * SAMPLE_RATE)
    for at in range(0, len(waveform), step):
        yield np.ascontiguousarray(waveform[at : at + step], dtype=np.float32)


def _weighted_mean(
    vectors: NDArray[np.float32], owners: NDArray[np.int64], weights: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Average of each owner's rows by weight, `(owners, D)`; a single row is passed as it is."""
    if len(np.unique(owners)) == len(owners):
        return vectors
    total = np.zeros((owners.max() + 1, vectors.shape[1]))
    np.add.at(total, owners, vectors * weights[:, None])
    return (total / np.bincount(owners, weights)[:, None]).astype(np.float32)


def _model_card(model: AudioModel) -> str:
    config = model.config
    how = "\n".join(f"- {key}: {value}" for key, value in config.training.items()) or "- untrained or unknown"
    return f"""# ATST encoder `{config.size}`

A general audio representation learned without labels (Audio Teacher-Student Transformer, arXiv 2204.12076).

- input: 16 kHz mono; log-mel spectrogram, 64 bands, 10 ms hop
- output: one CLS token and one token per 40 ms, {model.width} values each, from each of {model.depth} blocks
- segment length: {config.segment_seconds} s

```python
import atst
vector = atst.load("this folder").embed("sound.wav")
```

How it was trained:

{how}
"""
