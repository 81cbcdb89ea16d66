"""The authors' checkpoints become our models, and back.

Two forms exist. Lightning's holds `state_dict` with `model.student.*` and `model.teacher.*` and the
hyper-parameters; the older one holds `teacher` and `student` with `module.` and `backbone.` in their
keys, and `args`. Our names are theirs but for `patch_embed.patch_embed`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from atst.errors import ModelError, unknown
from atst.model import untrusted
from atst.model.audio_model import AudioModel, ModelConfig
from atst.model.encoder import HEAD_OUTPUT
from atst.model.official_tensors import (
    HEADS,
    State,
    checked,
    foreign,
    head_shapes,
    part,
    recognise,
    shortened,
    stem_of,
    tensor_names,
    their_name,
)
from atst.output import tensors
from atst.output.atomic import new_file

NETWORKS = ("teacher", "student")
LARGEST_NUMBER = 1e300  # of a hyper-parameter that is kept: Python does not print the longest whole numbers


@dataclass
class OfficialCheckpoint:
    """Both networks under our names: `encoder.*`, `projector.*`, and `predictor.*` in the student.

    A network or head that the file lacks is missing here too.
    """

    size: str
    segment_seconds: float
    student: State
    teacher: State
    hyper_parameters: dict[str, Any]
    stem: str  # `frame` for ATST-Frame


def load(path: str | Path, network: str = "teacher") -> AudioModel:
    """The encoder of a checkpoint, ready to embed. The authors evaluate the teacher.

    Raises `ModelError` for a file that is damaged, unsafe, incomplete or of another method.
    """
    if network not in NETWORKS:
        raise unknown("network", network, NETWORKS)
    checkpoint = _parse(path)
    state: State = getattr(checkpoint, network)
    if not state:
        raise ModelError(f"{path}: holds no {network}.")
    numbers = {
        key: value
        for key, value in checkpoint.hyper_parameters.items()
        if str(key).isidentifier() and isinstance(value, int | float) and abs(value) < LARGEST_NUMBER
    }
    source = {"source": f"{Path(path).name}, converted from the authors' form", "network": network}
    training = {**numbers, **source}
    config = ModelConfig(checkpoint.size, checkpoint.segment_seconds, training, stem=checkpoint.stem)
    model = AudioModel(config, name=str(path))
    model.encoder.load_state_dict(part(state, "encoder."))
    return model


def read(path: str | Path) -> OfficialCheckpoint:
    """Both networks with their heads, to continue training. Raises `ModelError` as `load` does."""
    checkpoint = _parse(path)
    for network, heads in HEADS.items():
        state: State = getattr(checkpoint, network)
        absent = [name for name in ("encoder", *heads) if not part(state, f"{name}.")]
        if absent:
            raise ModelError(
                f"{path}: cannot be trained further: no {' and '.join(absent)} of the {network}."
            )
    return checkpoint


def save(model: AudioModel, path: str | Path) -> None:
    """Write `model` in the authors' Lightning form, so that their evaluation code runs our encoder.

    Teacher and student both get its encoder. A model has no heads: they are drawn anew, from a fixed
    seed, because the authors' loader wants every tensor. Raises `ModelError` for a size they lack.
    """
    size = model.config.size
    if model.config.stem != "patches":
        raise ModelError(
            f"{model.name}: stem '{model.config.stem}'; only encoders with a CLS token are written."
        )
    if size not in SCRIPT_VALUES:
        sizes = " and ".join(SCRIPT_VALUES)
        raise ModelError(f"{model.name}: the authors' code knows the sizes {sizes}, not '{size}'.")
    encoder = {their_name(key): value.detach().cpu() for key, value in model.encoder.state_dict().items()}
    heads = _fresh_heads(model.width)
    state = {
        f"model.{network}.{key}": value
        for network in ("student", "teacher")
        for key, value in (encoder | heads).items()
        if key.split(".")[0] in ("encoder", *HEADS[network])
    }
    known = {key: model.config.training.get(key, value) for key, value in SCRIPT_VALUES[size].items()}
    hyper_parameters = {"arch": size, **known, "train_len": model.config.segment_seconds}
    with new_file(path) as temporary:
        tensors.save(_lightning_file(state, hyper_parameters), temporary)


# What the authors' scripts pass; their module cannot be built without, their evaluation ignores them.
SCRIPT_VALUES: dict[str, dict[str, Any]] = {
    "small": {"learning_rate": 3e-3, "warmup_steps": 1300, "max_steps": 39_100, "ema": 0.99},
    "base": {"learning_rate": 1.2e-3, "warmup_steps": 15_860, "max_steps": 318_000, "ema": 0.9995},
}


def _lightning_file(state: State, hyper_parameters: dict[str, Any]) -> dict[str, Any]:
    return {
        "epoch": 0,
        "global_step": 0,
        "pytorch-lightning_version": "2.6.6",  # the release whose layout this is: nothing to migrate
        "state_dict": state,
        "loops": {},
        "callbacks": {},
        "optimizer_states": [],
        "lr_schedulers": [],
        "hparams_name": "kwargs",
        "hyper_parameters": hyper_parameters,
        "datamodule_hparams_name": "kwargs",
        "datamodule_hyper_parameters": dict(hyper_parameters),
    }


def _parse(path: str | Path) -> OfficialCheckpoint:
    """Read and check everything that is there."""
    content = untrusted.read(path)
    if not isinstance(content, Mapping):
        raise foreign(path, [])
    if isinstance(content.get("state_dict"), Mapping):
        networks = _lightning_networks(path, content["state_dict"])
        hyper_parameters = _plain(content.get("datamodule_hyper_parameters")) | _plain(
            content.get("hyper_parameters")
        )
        seconds = hyper_parameters.get("train_len", hyper_parameters.get("anchor_len", 6.0))
        older = False
    elif any(isinstance(content.get(network), Mapping) for network in NETWORKS):
        networks = {network: _older_network(content.get(network)) for network in NETWORKS}
        older = True
        hyper_parameters = _plain(content.get("args"))
        seconds = hyper_parameters.get("anchor_len", 6.0)
        seconds = seconds[0] if isinstance(seconds, list | tuple) and seconds else seconds
    else:
        raise foreign(path, tensor_names(content))
    stem = stem_of(networks)
    size = recognise(path, networks, stem)
    states = {
        network: checked(path, network, entries, size, older, stem) for network, entries in networks.items()
    }
    try:
        seconds = float(ModelConfig(size, seconds).segment_seconds)
    except ValueError as error:
        raise ModelError(f"{path}: {error}.") from None
    return OfficialCheckpoint(size, seconds, hyper_parameters=hyper_parameters, stem=stem, **states)


def _lightning_networks(path: str | Path, state: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    networks = {network: part(state, f"model.{network}.") for network in NETWORKS}
    outside = [
        key for key in state if not str(key).startswith(tuple(f"model.{network}." for network in NETWORKS))
    ]
    if not any(networks.values()):
        raise foreign(path, outside)
    if outside:
        raise ModelError(f"{path}: unexpected tensors: {shortened(outside)}.")
    return networks


def _older_network(state: Any) -> dict[str, Any]:
    """The encoder of the older form. Its heads are of another kind and are left out."""
    if not isinstance(state, Mapping):
        return {}
    clean = {str(key).replace("module.", "").replace("backbone.", ""): value for key, value in state.items()}
    heads = ("head.", "projector.", "predictor.")
    return {f"encoder.{key}": value for key, value in clean.items() if not key.startswith(heads)}


def _fresh_heads(width: int) -> State:
    """Projector and predictor as PyTorch initialises them."""
    chance = torch.Generator().manual_seed(0)
    heads: State = {}
    for key, shape in (head_shapes("projector", width) | head_shapes("predictor", HEAD_OUTPUT)).items():
        if len(shape) == 2:
            heads[key] = torch.empty(shape).uniform_(-(shape[1] ** -0.5), shape[1] ** -0.5, generator=chance)
        elif shape == ():
            heads[key] = torch.tensor(0)
        else:
            heads[key] = (
                torch.ones(shape) if key.endswith(("1.weight", "running_var")) else torch.zeros(shape)
            )
    return heads


def _plain(values: Any) -> dict[str, Any]:
    return dict(values) if isinstance(values, Mapping) else dict(getattr(values, "__dict__", {}))
