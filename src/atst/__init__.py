"""Self-supervised audio representation learning with ATST.

    model = atst.load("runs/mine")
    vector = model.embed("dog.wav")

The functions are imported when first used: `import atst` itself needs no PyTorch.
"""

import importlib
from typing import TYPE_CHECKING, Any

from atst.errors import AtstError, AudioError, CorpusError, ModelError, TrainingError, UsageError

if TYPE_CHECKING:
    from atst.commands.annotations import annotations
    from atst.commands.check import check
    from atst.commands.convert import convert
    from atst.commands.demo import demo
    from atst.commands.duplicates import duplicates
    from atst.commands.embed import embed
    from atst.commands.evaluate import evaluate
    from atst.commands.explore import explore
    from atst.commands.export import export
    from atst.commands.finetune import finetune
    from atst.commands.label import label
    from atst.commands.pack import pack
    from atst.commands.predict import predict
    from atst.commands.pretrain import pretrain
    from atst.commands.probe import probe
    from atst.commands.push import push
    from atst.commands.search import search
    from atst.library.library import Library
    from atst.model.audio_model import AudioModel
    from atst.model.classifier import Classifier, load_classifier
    from atst.model.load import load

__version__ = "0.1.0"

__all__ = [
    "AtstError",
    "AudioError",
    "AudioModel",
    "Classifier",
    "CorpusError",
    "Library",
    "ModelError",
    "TrainingError",
    "UsageError",
    "annotations",
    "check",
    "convert",
    "demo",
    "duplicates",
    "embed",
    "evaluate",
    "explore",
    "export",
    "finetune",
    "label",
    "load",
    "load_classifier",
    "pack",
    "predict",
    "pretrain",
    "probe",
    "push",
    "search",
]

_HOMES = {name: f"atst.commands.{name}" for name in __all__ if name.islower()} | {
    "AudioModel": "atst.model.audio_model",
    "Classifier": "atst.model.classifier",
    "Library": "atst.library.library",
    "load": "atst.model.load",
    "load_classifier": "atst.model.classifier",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'atst' has no attribute '{name}'")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
