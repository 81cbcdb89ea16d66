"""The authors' fine-tuned checkpoints: an encoder and a head, `encoder.encoder.*` and `head.*`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from atst.errors import ModelError
from atst.model import untrusted
from atst.model.audio_model import AudioModel, ModelConfig
from atst.model.classifier import Classifier, Head, folded
from atst.model.encoder import SIZES
from atst.model.official_tensors import FINETUNED, checked, part, recognise, shortened
from atst.sound.audio import CLIP_SECONDS

# Fixed in their fine-tuning code, whatever the checkpoint says.
SEGMENT_SECONDS, POOLING = 6.0, "published"
HEAD = ("norm.running_mean", "norm.running_var", "linear.weight", "linear.bias")
COUNTER = "norm.num_batches_tracked"  # of no use here


def load(path: str | Path) -> Classifier | None:
    """The classifier in a fine-tuned checkpoint, its labels called `0`, `1` and so on; None for another file.

    A clip is assumed to have one label; the file does not say. Raises `ModelError` for a file that is
    damaged, unsafe, incomplete or of another method.
    """
    content = untrusted.read(path)
    state = content.get("state_dict") if isinstance(content, Mapping) else None
    if not isinstance(state, Mapping) or not part(state, FINETUNED):
        return None
    entries = part(state, FINETUNED.removesuffix("encoder."))  # encoder.*
    size = recognise(path, {"encoder": entries})
    model = AudioModel(ModelConfig(size, SEGMENT_SECONDS, _source(path)), name=str(path))
    model.encoder.load_state_dict(part(checked(path, "encoder", entries, size), "encoder."))
    rest = [key for key in state if not str(key).startswith((FINETUNED, "head."))]
    if rest:
        raise ModelError(f"{path}: unexpected tensors: {shortened(rest)}.")
    head = _head(path, part(state, "head."))
    layers, remainder = divmod(head["linear.weight"].shape[1], 2 * SIZES[size][0])
    if remainder or not 1 <= layers <= model.depth:
        raise ModelError(
            f"{path}: its head takes {head['linear.weight'].shape[1]} values, not '{size}' blocks'."
        )
    mean, variance, weight, bias = (head[name] for name in HEAD)
    weight, bias = folded(mean, variance, weight, bias)
    return Classifier(
        encoder=model,
        head=Head([(weight, bias)]),
        labels=[str(i) for i in range(len(bias))],
        multi_label=False,
        features={"layers": layers, "pooling": POOLING, "clip_seconds": CLIP_SECONDS},
        name=str(path),
    )


def _source(path: str | Path) -> dict[str, Any]:
    return {"source": f"{Path(path).name}, converted from the authors' fine-tuned form"}


def _head(path: str | Path, entries: Mapping[str, Any]) -> dict[str, Tensor]:
    """The head's float32 tensors, if they are exactly those of a BatchNorm and a linear layer."""
    head = {name: value for name, value in entries.items() if name != COUNTER}
    dimensions = {name: value.dim() if isinstance(value, Tensor) else -1 for name, value in head.items()}
    if dimensions != {name: 2 if name == "linear.weight" else 1 for name in HEAD}:
        raise ModelError(f"{path}: its head is not BatchNorm and a linear layer: {shortened(entries)}.")
    head = {name: value.detach().to(torch.float32, copy=True) for name, value in head.items()}
    classes, width = head["linear.weight"].shape
    lengths = [len(head[name]) for name in ("norm.running_mean", "norm.running_var", "linear.bias")]
    if lengths != [width, width, classes] or classes < 2:
        raise ModelError(f"{path}: the shapes of its head do not fit each other.")
    if not all(value.isfinite().all() for value in head.values()) or (head["norm.running_var"] < 0).any():
        raise ModelError(f"{path}: its head has invalid values.")
    return head
