"""A saved classifier, as `atst probe` and `atst finetune` leave it: an encoder, a head and its labels."""

import json
import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as as_safetensors
from torch import Tensor

from atst import onnx
from atst.errors import ModelError
from atst.model import hub
from atst.model import load as models
from atst.model.audio_model import AudioModel
from atst.model.baselines import BASELINES
from atst.model.embedder import Embedder
from atst.output.atomic import new_folder
from atst.output.version import KEY, check_version
from atst.sound.audio import SAMPLE_RATE
from atst.sound.clips import windows
from atst.sound.windows import minutes

HEAD, LABELS = "head.safetensors", "labels.json"
FORMAT_VERSION = 1  # of labels.json
READOUT = ("layers", "pooling", "levels")  # options of `embed`
DAMAGED = (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError, SafetensorError)
INIT_STD = 0.01  # of the linear layer that a probe and a fine-tuning start from


@dataclass
class Head:
    """Features to logits: affine layers with ReLU between them; mostly there is only one."""

    layers: list[tuple[Tensor, Tensor]]  # weight (out, in) and bias (out,)

    def logits(self, x: Tensor) -> Tensor:
        """(B, D) -> (B, C), in the precision and on the device of `x`."""
        for i, (weight, bias) in enumerate(self.layers):
            x = (x.relu() if i else x) @ weight.T.to(x) + bias.to(x)
        return x

    def tensors(self) -> dict[str, Tensor]:
        """By the names in `head.safetensors`: `hidden.0.weight` and so on, last `weight` and `bias`."""
        prefixes = [*(f"hidden.{i}." for i in range(len(self.layers) - 1)), ""]
        return {
            prefix + name: tensor.contiguous()
            for prefix, layer in zip(prefixes, self.layers, strict=True)
            for name, tensor in zip(("weight", "bias"), layer, strict=True)
        }

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor]) -> "Head":
        """The inverse of `tensors`, in double precision. Raises `KeyError` for one that is missing."""
        hidden = sum(name.startswith("hidden.") for name in tensors) // 2
        prefixes = [*(f"hidden.{i}." for i in range(hidden)), ""]
        return cls([(tensors[p + "weight"].double(), tensors[p + "bias"].double()) for p in prefixes])


@dataclass
class Classifier:
    """Turns sound into a score for each label. `scores` is fast, `predict` convenient."""

    encoder: Embedder
    head: Head
    labels: list[str]
    multi_label: bool
    features: dict[str, Any]  # how a clip becomes a vector: layers, pooling, clip_seconds
    temperature: float = 1.0  # fitted on validation clips; logits are divided by it
    name: str = "classifier"  # where it came from

    @property
    def clip_seconds(self) -> float | None:
        """Longer clips were cut to their middle part of this many seconds in training; None: not cut."""
        return self.features.get("clip_seconds")

    @property
    def readout(self) -> dict[str, Any]:
        """Options of the encoder's `embed`."""
        return {key: self.features[key] for key in READOUT if key in self.features}

    def predict(self, sound: Any, *, sample_rate: int | None = None) -> Any:
        """Label to score, best first, of a path or an (N,) array with `sample_rate`; of a list, a list.

        Scores are calibrated probabilities: of one label among all, or of each for a multi-label classifier.
        A clip of up to 60 s is classified by its middle `clip_seconds`, as in training and testing; a longer
        recording by those of each minute, averaged by duration. Raises `AudioError` for what cannot be read.
        """
        if isinstance(sound, list | tuple):
            return [self.predict(clip, sample_rate=sample_rate) for clip in sound]
        parts = list(minutes(windows(sound, sample_rate), self.clip_seconds))
        seconds = [end - start for start, end, _ in parts]
        waveforms = [waveform for _, _, waveform in parts]
        mean = np.average(self.scores(waveforms), axis=0, weights=seconds)
        return {self.labels[i]: float(mean[i]) for i in np.argsort(-mean, kind="stable")}

    def scores(self, waveforms: Sequence[NDArray[np.float32]], batch_size: int = 32) -> NDArray[np.float64]:
        """(B, C) calibrated scores of 16 kHz waveforms (N,), each as long as in training at most."""
        vectors = self.encoder.embed(
            list(waveforms),
            sample_rate=SAMPLE_RATE,
            batch_size=batch_size,
            **self.readout,
        )
        return self.judge(vectors)

    @torch.no_grad()
    def judge(self, vectors: NDArray[np.float32]) -> NDArray[np.float64]:
        """(B, C) calibrated scores of features (B, D) that the encoder made with these settings."""
        logits = self.head.logits(torch.from_numpy(vectors).double()) / self.temperature
        return (logits.sigmoid() if self.multi_label else logits.softmax(-1)).numpy()

    def save(self, folder: str | Path, task: str, trained_on: str, *, again: bool = False) -> None:
        """Write a folder for `load_classifier`: the encoder, `head.safetensors` and `labels.json`.

        `again`: the folder has this encoder already, whose files are linked and not written once more.
        """
        about = {
            KEY: FORMAT_VERSION,
            "labels": self.labels,
            "multi_label": self.multi_label,
            "task": task,
            "trained_on": trained_on,
            "model": self.encoder.name,  # baselines have no files
            "temperature": self.temperature,
            "features": self.features,
        }
        with new_folder(folder) as temporary:
            if again:
                _link(Path(folder), temporary)
            else:
                self.encoder.save(temporary)
            (temporary / HEAD).write_bytes(as_safetensors(self.head.tensors()))
            (temporary / LABELS).write_text(json.dumps(about, indent=2) + "\n")


def load_classifier(folder: str | Path, device: str = "cpu") -> Classifier:
    """The classifier in the `--out` folder of a probe or a fine-tuning, in the `model/` folder in it, or of
    the Hugging Face hub's id `user/name`.

    Raises `ModelError` for a folder without one, `UsageError` for a device that is not there.
    """
    name = str(folder)
    folder = _find(hub.fetch(name) if hub.is_id(name) else Path(folder))
    try:
        about = json.loads((folder / LABELS).read_text(encoding="utf-8"))
        check_version(about.get(KEY), FORMAT_VERSION, folder / LABELS, ModelError)
        _check_values(about)
        classifier = Classifier(
            encoder=_encoder(folder, str(about["model"]), device),
            head=Head.of(load_file(folder / HEAD)),
            labels=list(about["labels"]),
            multi_label=bool(about["multi_label"]),
            features=dict(about["features"]),
            temperature=float(about.get("temperature", 1.0)),
            name=name if hub.is_id(name) else str(folder),
        )
    except DAMAGED as error:
        raise ModelError(
            f"{folder}: its classifier cannot be loaded: {type(error).__name__} {error}"
        ) from None
    _check_shapes(classifier)
    return classifier


def _link(old: Path, new: Path) -> None:
    """The encoder's files of one folder in another, by hard links where the file system has them."""
    for file in old.iterdir():
        if file.name not in (HEAD, LABELS):
            try:
                (new / file.name).hardlink_to(file)
            except OSError:
                shutil.copy2(file, new)


def initial_weight(width: int, classes: int, seed: int) -> Tensor:
    """(D, C), normal with standard deviation 0.01."""
    return torch.randn(width, classes, generator=torch.Generator().manual_seed(seed)) * INIT_STD


def folded(
    mean: Tensor, variance: Tensor, weight: Tensor, bias: Tensor, eps: float = 1e-5
) -> tuple[Tensor, Tensor]:
    """Weight (C, D) and bias (C,) of BatchNorm without parameters followed by a linear layer."""
    scaled = weight.double() * (variance.double() + eps).rsqrt()
    return scaled.float(), (bias.double() - scaled @ mean.double()).float()


def _check_values(about: dict[str, Any]) -> None:
    """Raise `ValueError` for values that no classifier has, one of `DAMAGED` for what they cannot even be."""
    features, seconds = about["features"], about["features"].get("clip_seconds")
    if not all(isinstance(label, str) for label in about["labels"]):
        raise ValueError("labels must be texts")
    if type(features["layers"]) is not int:
        raise ValueError(f"layers is {repr(features['layers'])[:50]}")
    for key in ("pooling", "levels"):
        if not isinstance(features.get(key), str | None):
            raise ValueError(f"{key} is {repr(features[key])[:50]}")
    for key, value in (("clip_seconds", seconds), ("temperature", about.get("temperature", 1.0))):
        if value is not None and not 0 < value < math.inf:
            raise ValueError(f"{key} is {value}")


def _check_shapes(classifier: Classifier) -> None:
    """Raise `ModelError` where the head's layers do not fit the encoder, each other or the labels."""
    chain = classifier.head.layers
    encoder = classifier.encoder
    width = chain[0][0].shape[-1:].numel()
    if isinstance(encoder, AudioModel):
        width = encoder.readout(**classifier.readout).size(encoder.encoder)
    for i, (weight, bias) in enumerate(chain):
        last = i == len(chain) - 1
        outputs = len(classifier.labels) if last else bias.numel()
        if weight.shape != (outputs, width) or bias.shape != (outputs,):
            name = "" if last else f" hidden layer {i}:"
            raise ModelError(
                f"{classifier.name}: the head's{name} weight is {tuple(weight.shape)}, its bias "
                f"{tuple(bias.shape)}; labels and encoder need {(outputs, width)} and {(outputs,)}."
            )
        width = outputs


def _find(folder: Path) -> Path:
    """Where the head is: `folder` or its `model/`."""
    for path in (folder, folder / "model"):
        if (path / HEAD).is_file() and (path / LABELS).is_file():
            return path
    if not folder.is_dir():
        raise ModelError(f"{folder}: no such folder. Give what atst probe or atst finetune wrote to --out.")
    encoder = any((path / "config.json").is_file() for path in (folder, folder / "model"))
    what = "an encoder without a classifier" if encoder else "no classifier"
    raise ModelError(
        f"{folder}: holds {what} (no {HEAD}). Train one with labelled sounds: "
        f"atst probe TASK --model M --out DIR, or atst finetune TASK --model M --out DIR."
    )


def _encoder(folder: Path, name: str, device: str) -> Embedder:
    """The encoder in the folder; a feature baseline has no files, only a name."""
    if name in BASELINES:
        return BASELINES[name]()
    exported = folder / onnx.FILE
    return models.load(exported if exported.exists() else folder, device)
