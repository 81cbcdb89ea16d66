"""Which tensors a network of the authors has, under which names, and whether a file has just these."""

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from atst.errors import ModelError
from atst.model.encoder import HEAD_HIDDEN, HEAD_OUTPUT, MAX_PATCHES, PATCH_FRAMES, SIZES
from atst.model.frontend import N_MELS

HEADS = {"teacher": ("projector",), "student": ("projector", "predictor")}
FINETUNED = "encoder.encoder."  # what the encoder's tensors in a fine-tuned checkpoint begin with

State = dict[str, Tensor]
Shapes = dict[str, tuple[int, ...]]


def stem_of(networks: Mapping[str, Mapping[str, Any]]) -> str:
    """The kind of encoder: `frame` for one of ATST-Frame, else `patches`."""
    return "frame" if any("norm_frame" in key for part in networks.values() for key in part) else "patches"


def recognise(path: str | Path, networks: Mapping[str, Mapping[str, Any]], stem: str = "patches") -> str:
    """The size most of whose tensors are there; an error if no size has half of its own."""
    entries = next((entries for entries in networks.values() if entries), {})
    if stem != stem_of(networks):
        raise foreign(path, entries)
    shapes = {key: tuple(value.shape) for key, value in entries.items() if isinstance(value, Tensor)}
    fits = {}
    for size in SIZES:
        expected = encoder_shapes(size, stem)
        fits[size] = sum(shapes.get(key) == shape for key, shape in expected.items()) / len(expected)
    best = max(fits, key=lambda size: fits[size])
    if fits[best] < 0.5:
        raise foreign(path, entries)
    return best


def checked(
    path: str | Path,
    network: str,
    entries: Mapping[str, Any],
    size: str,
    lenient: bool = False,
    stem: str = "patches",
) -> State:
    """`entries` as float32 copies under our names, if they are exactly the tensors of this network.

    Lenient, what is not of this network is left out with a warning on stderr, as the authors' older loader
    does; what is missing is an error in any case.
    """
    if not entries:
        return {}
    expected = encoder_shapes(size, stem)
    for head in HEADS.get(network, ()):
        if part(entries, f"{head}."):
            expected |= head_shapes(head, SIZES[size][0] if head == "projector" else HEAD_OUTPUT)
    tensors = {key: value for key, value in entries.items() if isinstance(value, Tensor)}
    wrong = [
        f"{key} {_kind(tensors[key])} instead of {shape}"
        for key, shape in expected.items()
        if key in tensors and not _usable(tensors[key], shape)
    ]
    problems = {
        "missing": [key for key in expected if key not in tensors],
        "unexpected": [key for key in entries if key not in expected],
        "misshapen": wrong,
    }
    if lenient and problems["unexpected"]:
        names = shortened(problems.pop("unexpected"))
        print(
            f"warning: {path}: tensors of the {network} that are not ATST's are left out: {names}",
            file=sys.stderr,
        )
    if any(problems.values()):
        text = "; ".join(f"{what}: {shortened(names)}" for what, names in problems.items() if names)
        raise ModelError(f"{path}: the {network} is not an ATST '{size}': {text}.")
    state = {_our_name(key): _copy(tensors[key]) for key in expected}
    non_finite = [key for key, value in state.items() if not value.isfinite().all()]
    if non_finite:
        raise ModelError(f"{path}: the {network} has non-finite weights: {shortened(non_finite)}.")
    return state


def _copy(tensor: Tensor) -> Tensor:
    return tensor.detach().to(torch.float32 if tensor.is_floating_point() else tensor.dtype, copy=True)


def _usable(tensor: Tensor, shape: tuple[int, ...]) -> bool:
    counter = shape == ()  # BatchNorm's count of batches, the only scalar
    kind = tensor.dtype == torch.int64 if counter else tensor.is_floating_point()
    return tuple(tensor.shape) == shape and kind and tensor.layout == torch.strided and not tensor.is_meta


def _kind(tensor: Tensor) -> str:
    return f"{tuple(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}"


def encoder_shapes(size: str, stem: str = "patches") -> Shapes:
    """An encoder's tensors under the authors' names; ATST-Frame's has no CLS token."""
    width, depth, _ = SIZES[size]
    norm = "norm_frame" if stem == "frame" else "norm"
    shapes: Shapes = {} if stem == "frame" else {"cls_token": (1, 1, width)}
    shapes |= {
        "mask_embed": (1, 1, width),
        "pos_embed": (1, 1 + MAX_PATCHES, width),
        "patch_embed.patch_embed.weight": (width, N_MELS * PATCH_FRAMES),
        "patch_embed.patch_embed.bias": (width,),
        f"{norm}.weight": (width,),
        f"{norm}.bias": (width,),
    }
    block: Shapes = {f"norm{i}.{kind}": (width,) for i in (1, 2) for kind in ("weight", "bias")}
    block |= {
        "attn.qkv.weight": (3 * width, width),
        "attn.proj.weight": (width, width),
        "attn.proj.bias": (width,),
    }
    block |= {"mlp.fc1.weight": (4 * width, width), "mlp.fc1.bias": (4 * width,)}
    block |= {"mlp.fc2.weight": (width, 4 * width), "mlp.fc2.bias": (width,)}
    shapes |= {f"blocks.{i}.{key}": shape for i in range(depth) for key, shape in block.items()}
    return {f"encoder.{key}": shape for key, shape in shapes.items()}


def head_shapes(head: str, width: int) -> Shapes:
    """The tensors of a projector or predictor that takes `width` values."""
    norm = dict.fromkeys(("weight", "bias", "running_mean", "running_var"), (HEAD_HIDDEN,))
    shapes: Shapes = {f"{head}.1.{key}": shape for key, shape in norm.items()}
    shapes |= {f"{head}.1.num_batches_tracked": (), f"{head}.0.weight": (HEAD_HIDDEN, width)}
    return shapes | {f"{head}.3.weight": (HEAD_OUTPUT, HEAD_HIDDEN)}


def their_name(key: str) -> str:
    """The authors' name of our encoder's tensor `key`."""
    return "encoder." + (f"patch_embed.{key}" if key.startswith("patch_embed.") else key)


def _our_name(key: str) -> str:
    key = key.replace("encoder.patch_embed.patch_embed.", "encoder.patch_embed.")
    return key.replace("encoder.norm_frame.", "encoder.norm.")


def part(state: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """The entries under `prefix`, without it."""
    return {key.removeprefix(prefix): value for key, value in state.items() if str(key).startswith(prefix)}


def tensor_names(content: Mapping[Any, Any]) -> list[str]:
    """The tensors of a file that has neither of the authors' forms."""
    inside = content.get("model") if isinstance(content.get("model"), Mapping) else content
    return [str(key) for key, value in inside.items() if isinstance(value, Tensor)] if inside else []


def foreign(path: str | Path, names: Iterable[str]) -> ModelError:
    """The error for a checkpoint of another method, named if `names` of its tensors give it away."""
    found = [str(name) for name in names]
    if any("norm_frame" in name for name in found):
        return ModelError(
            f"{path}: of ATST-Frame, but not a checkpoint of its pre-training, the only one that is read."
        )
    if any(name.startswith(FINETUNED) for name in found):
        return ModelError(
            f"{path}: a fine-tuned checkpoint of the authors; atst convert {path} --out DIR makes a "
            "classifier of it, whose folder every command takes."
        )
    if {"features.0.weight", "fc.0.weight"} <= set(found):
        return ModelError(
            f"{path}: a checkpoint of BYOL-A, another method with another encoder; not supported."
        )
    holds = f"tensors {shortened(found)}" if found else "no weights under names of ATST's"
    return ModelError(f"{path}: a checkpoint of another method, not of ATST (it holds {holds}).")


def shortened(names: Iterable[str], most: int = 5) -> str:
    """The first few names and how many more there are."""
    every = [text if (text := str(name)).isprintable() else ascii(text) for name in names]
    rest = f" and {len(every) - most} more" if len(every) > most else ""
    return ", ".join(name[:100] for name in every[:most]) + rest
