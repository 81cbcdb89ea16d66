"""Loads a model by its name: everything that `--model` accepts."""

from importlib import resources
from pathlib import Path

import torch

from atst import onnx
from atst.errors import ModelError, UsageError
from atst.model import device as devices
from atst.model import folder as folder_files
from atst.model import hub, official
from atst.model.audio_model import AudioModel
from atst.model.baselines import BASELINES
from atst.model.embedder import Embedder
from atst.model.encoder import SIZES
from atst.model.folder import ModelConfig

BUNDLED = ("atst-nano",)  # in the package, folders of weights/


def load(model: str | Path, device: str = "cpu", *, seed: int = 0, revision: str | None = None) -> Embedder:
    """Load any model that `--model` accepts, in eval mode.

    `model` is a bundled model (`atst-nano`), a model folder, a run folder, an authors' checkpoint (`.ckpt`),
    `random:SIZE` (an untrained encoder drawn from `seed`; `random:conv-SIZE` and `random:frame-SIZE` are of
    other stems), a feature
    baseline (`logmel`, `functionals`, `descriptors`, `functionals+descriptors` or `opensmile`), a file of
    `atst export` (`.onnx`, which has one read-out), or an id of the Hugging Face hub, `user/name`, of which
    `revision` may be a branch, tag or commit. Raises `ModelError` for a path without a usable model, or an
    unknown name.
    """
    name = str(model)
    if revision is not None and not hub.is_id(name):
        raise UsageError(
            f"revision='{revision}' goes with user/name on the Hugging Face hub, not with {name}."
        )
    if name.endswith(".onnx"):
        return onnx.load(name, device)
    where = devices.resolve(device)
    if name in BASELINES and not Path(name).exists():
        return BASELINES[name]()
    if name.startswith("random:") and not Path(name).exists():
        return _random(name, seed).to(where)
    path = Path(model)
    if name in BUNDLED and not path.exists():
        with resources.as_file(resources.files("atst.model") / "weights" / name) as folder:
            return _load_folder(folder, name).to(where)
    if path.is_dir():
        return _load_folder(path).to(where)
    if path.is_file():
        return official.load(path).to(where)
    if hub.is_id(name):
        fetched = _load_folder(hub.fetch(name, revision))
        fetched.name = name
        return fetched.to(where)
    raise ModelError(
        f"{name}: no such model. Give {', '.join(BUNDLED)}, a model folder, a run folder, a .ckpt file, "
        f"random:SIZE ({', '.join(SIZES)}), {', '.join(BASELINES)}, or user/name on the Hugging Face hub."
    )


def _random(name: str, seed: int) -> AudioModel:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        stem, _, size = name.removeprefix("random:").rpartition("-")
        return AudioModel(ModelConfig(size, stem=stem or "patches"), name=name)


def _load_folder(folder: Path, name: str | None = None) -> AudioModel:
    config, weights = folder_files.read(folder)
    model = AudioModel(config, name=name or str(folder))
    try:
        model.load_tensors(weights)
    except RuntimeError as error:
        raise ModelError(
            f"{folder}: model.safetensors does not fit config.json: {folder_files.one_line(error)}"
        ) from None
    return model
