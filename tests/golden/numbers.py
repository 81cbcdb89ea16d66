"""The stored numbers, and the weights and checkpoints that the recipes make."""

import argparse
import json
from collections import OrderedDict
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from atst.model.official_tensors import HEADS, encoder_shapes, head_shapes
from golden import recipes

FOLDER = Path(__file__).parent


@cache
def arrays(name: str) -> dict[str, NDArray[Any]]:
    with np.load(FOLDER / f"{name}.npz") as stored:
        return {key: stored[key] for key in stored.files}


@cache
def table(name: str) -> Any:
    return json.loads((FOLDER / f"{name}.json").read_text())


@cache
def lightning_state(size: str = "small") -> "OrderedDict[str, Tensor]":
    """The 299 tensors of a checkpoint, with the recipe's values. Not to be changed: cached."""
    return OrderedDict(
        (key, torch.from_numpy(np.asarray(recipes.fill_value(key, tuple(shape)))))
        for key, shape, _ in table(f"state_dict_{size}")["state_dict"]
    )


def lightning_checkpoint(state: Any, **hyper_parameters: Any) -> dict[str, Any]:
    """A checkpoint with the top-level keys of the authors' files."""
    content: dict[str, Any] = dict.fromkeys(table("state_dict_small")["checkpoint_top_level"])
    content |= {"epoch": 1, "global_step": 1, "pytorch-lightning_version": "2.6.6", "state_dict": state}
    return content | {"hyper_parameters": hyper_parameters, "datamodule_hyper_parameters": {}}


def nano_state() -> dict[str, Tensor]:
    """Both encoders of the smallest size under the authors' names, without heads: quick to write."""
    state = {}
    for network in ("teacher", "student"):
        for name, shape in encoder_shapes("nano").items():
            key = f"model.{network}.{name}"
            state[key] = torch.from_numpy(np.asarray(recipes.fill_value(key, shape)))
    return state


def finetuned_state(size: str, classes: int, layers: int = 1) -> dict[str, Tensor]:
    """A fine-tuned checkpoint's tensors; the encoder's values are those of the teacher."""
    state = {}
    for name, shape in encoder_shapes(size).items():
        state[f"encoder.{name}"] = recipes.fill_value(f"model.teacher.{name}", shape)
    width = 2 * layers * state["encoder.encoder.norm.weight"].shape[0]
    shapes = {"norm.running_mean": (width,), "norm.running_var": (width,), "norm.num_batches_tracked": ()}
    for name, shape in (shapes | {"linear.weight": (classes, width), "linear.bias": (classes,)}).items():
        state[f"head.{name}"] = recipes.fill_value(f"head.{name}", shape)
    return {key: torch.from_numpy(np.asarray(value)) for key, value in state.items()}


def older_checkpoint(state: Any, **args: Any) -> dict[str, Any]:
    """The older form: keys wrapped as DINO's scripts do, heads among them, arguments as a namespace."""
    content: dict[str, Any] = {"args": argparse.Namespace(**args), "epoch": 3}
    for network in ("teacher", "student"):
        prefix = f"model.{network}.encoder."
        wrapper = "module.backbone." if network == "student" else "backbone."
        entries = {wrapper + k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
        content[network] = entries | {wrapper.replace("backbone", "head") + "mlp.0.weight": torch.zeros(3, 2)}
    return content


def encoder_state(network: str = "teacher") -> dict[str, Tensor]:
    """The recipe's encoder under our names."""
    prefix = f"model.{network}.encoder."
    return {
        key.removeprefix(prefix).replace("patch_embed.patch_embed.", "patch_embed."): value
        for key, value in lightning_state().items()
        if key.startswith(prefix)
    }


@cache
def frame_state() -> dict[str, Tensor]:
    """The 297 tensors of an ATST-Frame checkpoint of `small`. Not to be changed: cached."""
    state = {}
    for network, heads in HEADS.items():
        shapes = encoder_shapes("small", "frame")
        for head in heads:
            shapes |= head_shapes(head, shapes["encoder.norm_frame.bias"][0] if head == "projector" else 256)
        for name, shape in shapes.items():
            key = f"model.{network}.{name}"
            state[key] = torch.from_numpy(np.asarray(recipes.fill_value(key, shape)))
    return state
