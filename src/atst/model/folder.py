"""A model on disk: `config.json`, `model.safetensors` and a model card."""

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as as_safetensors
from torch import Tensor

from atst.errors import ModelError, UsageError, unknown
from atst.model.conv_encoder import STEMS
from atst.model.encoder import MAX_PATCHES, PATCH_FRAMES
from atst.model.frontend import FRAMES_PER_SECOND
from atst.model.readout import ReadOut
from atst.output.atomic import new_folder
from atst.output.version import KEY, check_version
from atst.sound.windows import WINDOW_SECONDS

FORMAT_VERSION = 1
WHITENING = "whitening."  # what its tensors' names begin with
SHORTEST_SEGMENT = (PATCH_FRAMES - 1) / FRAMES_PER_SECOND
LONGEST_SEGMENT = (MAX_PATCHES * PATCH_FRAMES + PATCH_FRAMES - 2) / FRAMES_PER_SECOND


@dataclass
class ModelConfig:
    """What `config.json` holds. `training` describes how the encoder was trained, free form."""

    size: str
    segment_seconds: float = 6.0
    training: dict[str, Any] = field(default_factory=dict)
    format_version: int = FORMAT_VERSION
    stem: str = "patches"
    readout: dict[str, Any] = field(default_factory=dict)  # options of `embed`, where not the encoder's own

    def __post_init__(self) -> None:
        if not isinstance(self.stem, str) or self.stem not in STEMS:
            raise unknown("stem", str(self.stem), STEMS)
        sizes = STEMS[self.stem].sizes
        if not isinstance(self.size, str) or self.size not in sizes:
            raise unknown("encoder size", str(self.size), sizes)
        seconds = self.segment_seconds
        if not isinstance(seconds, int | float) or not SHORTEST_SEGMENT <= seconds <= LONGEST_SEGMENT:
            allowed = f"{SHORTEST_SEGMENT} to {LONGEST_SEGMENT} seconds fit one pass"
            raise ValueError(f"segment_seconds is {repr(seconds)[:50]}; {allowed}")
        if not isinstance(self.training, dict) or not isinstance(self.readout, dict):
            raise ValueError("training and readout must be objects")
        kinds = {"layers": int, "pooling": str, "levels": str}
        for key, kind in kinds.items():
            if not isinstance(self.readout.get(key), kind | None):
                raise ValueError(f"readout's {key} is {repr(self.readout[key])[:50]}")

    @property
    def chunk_frames(self) -> int:
        """Frames of one encoder pass: 601 for segments of 6 s, a whole window with a convolutional stem."""
        if self.stem == "conv":
            return int(WINDOW_SECONDS * FRAMES_PER_SECOND + 1)
        return int(self.segment_seconds * FRAMES_PER_SECOND + 1)


def fingerprint(config: ModelConfig, *states: dict[str, Tensor]) -> str:
    """A hash of weights and segment length."""
    digest = hashlib.sha256(f"{config.size} {config.segment_seconds}".encode())
    for state in states:
        for key, tensor in sorted(state.items()):
            digest.update(key.encode())
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def write(
    folder: str | Path,
    config: ModelConfig,
    weights: dict[str, Tensor],
    whitening: dict[str, Tensor],
    half: bool = False,
) -> None:
    """Write a model folder, whole or not at all; an existing one is replaced. `half`: matrices in float16."""
    with new_folder(folder) as temporary:
        (temporary / "config.json").write_text(json.dumps(asdict(config), indent=2) + "\n")
        tensors = weights | {WHITENING + key: value for key, value in whitening.items()}
        plain = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
        if half:
            plain = {key: value.half() if value.ndim > 1 else value for key, value in plain.items()}
        # save_file() would make a file that only its owner may read
        (temporary / "model.safetensors").write_bytes(as_safetensors(plain))
        (temporary / "README.md").write_text(_model_card(config))


def read(folder: Path) -> tuple[ModelConfig, dict[str, Tensor]]:
    """Config and encoder weights of a model folder, or of a run folder's `model/`. Raises `ModelError`."""
    for path in (folder, folder / "model"):
        if (path / "config.json").is_file():
            break
    else:
        raise ModelError(
            f"{folder}: not a model or run folder (no config.json in it or in its model/ folder)."
        )
    try:
        values = dict(json.loads((path / "config.json").read_text()))
        check_version(values.get(KEY), FORMAT_VERSION, path / "config.json", ModelError)
        config = ModelConfig(**values)
    except (ValueError, TypeError, UsageError, OSError, RecursionError) as error:
        raise ModelError(f"{path / 'config.json'}: cannot be used as a model's config: {error}") from None
    try:
        return config, load_file(path / "model.safetensors")
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path / 'model.safetensors'}: cannot be loaded: {one_line(error)}") from None


def one_line(error: Exception) -> str:
    """An error's text without line breaks, cut to a readable length."""
    return " ".join(str(error).split())[:500]


def _model_card(config: ModelConfig) -> str:
    encoder = STEMS[config.stem](config.size)
    stem = "three convolutions" if config.stem == "conv" else "patches of 64 bands by 4 frames"
    tokens = ("one CLS token and " if encoder.has_cls else "") + "one token per 40 ms"
    size = ReadOut.of(encoder).size(encoder)
    how = "\n".join(f"- {key}: {value}" for key, value in config.training.items()) or "- untrained or unknown"
    return f"""# ATST encoder `{config.size}`

A general audio representation learned without labels (Audio Teacher-Student Transformer, arXiv 2204.12076).

- input: 16 kHz mono; log-mel spectrogram, 64 bands, 10 ms hop
- encoder: {stem}, then {encoder.depth} transformer blocks of width {encoder.width}
- output: {tokens}; {size} values a clip
- trained on segments of {config.segment_seconds} s

```python
import atst
vector = atst.load("this folder").embed("sound.wav")
```

How it was trained:

{how}
"""
