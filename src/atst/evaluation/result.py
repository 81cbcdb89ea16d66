"""What a probe gives: the trained heads tested, and the numbers as `results.json` holds them."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from atst.evaluation.features import ProbeData
from atst.evaluation.knn import NEIGHBOURS, knn_scores
from atst.evaluation.lazy import all_equal, select
from atst.evaluation.mlp import Search
from atst.evaluation.sweep import Sweep
from atst.model.classifier import Head
from atst.model.device import described
from atst.scoring.calibration import fit_temperature
from atst.scoring.clips import left_out
from atst.scoring.metrics import over_folds
from atst.scoring.result import Result, Selection, Tested, computed, origins
from atst.sound.audio import CLIP_SECONDS


@dataclass
class Tried:
    """A point of a grid, and its validation metric."""

    hidden: int
    learning_rate: float
    init: str
    epoch: int  # with the best metric
    valid: float  # that metric; -1 if it diverged


@dataclass
class SeedResult:
    """The result of one of several draws of training clips."""

    seed: int
    value: float
    knn: float
    selected: list[Selection]


@dataclass(kw_only=True)
class ProbeResult(Result):
    """The result of a probe."""

    learning_rates: list[float]  # swept
    knn: dict[str, Any]
    classifier: str = "linear"  # or what else was trained on the features
    tried: list[Tried] = field(default_factory=list)  # where more than learning rates were searched
    seeds: list[SeedResult] = field(default_factory=list)  # with few labels; `selected` is of the first

    @property
    def description(self) -> str:
        """Of the protocol, for tables."""
        return protocol_description(asdict(self), self.protocol)


def protocol_description(result: dict[str, Any], name: str) -> str:
    """How a result, as `results.json` holds it, was measured; `name` of the protocol comes first."""
    description = f"{name}: {result['layers']} blocks, {result['pooling']} pooling"
    return description if result["protocol"] == "paper" else f"{description}, {result['classifier']}"


@dataclass
class Heads:
    """The heads of one fold."""

    validated: list[Head]  # one a hold-out; the temperature is fitted on their validation clips
    tested: Head  # the only one of them, or trained again on more clips


@dataclass
class Kept:
    """The head for use."""

    head: Head
    trained_on: str
    validated: list[list[Head]]  # of each fold and hold-out: those its temperature is fitted with


@dataclass
class Probe:
    """A finished probe: its result, and what its files and report are made from."""

    result: ProbeResult
    data: ProbeData
    learning: Sweep | Search | None  # None: nothing was selected
    kept: Kept
    tested: Tested


def measure(
    data: ProbeData,
    learning: Sweep | Search | None,
    selected: Sequence[Selection],
    heads: Sequence[Heads],
    kept: Kept,
    settings: dict[str, Any],
    warnings: list[str],
    knn: dict[str, Any] | None = None,
    **about: Any,
) -> Probe:
    """Test the heads, once each; calibrate them; compare with nearest neighbours.

    Args:
        data: features, labels and splits.
        learning: how the heads were trained; None where nothing was selected.
        selected, heads: one for each fold.
        kept: the head for use.
        settings: those of the training.
        warnings: the protocol's own.
        knn: of nearest neighbours; None: those of the plain features.
        about: further fields of the `ProbeResult`.
    """
    task, splits, extracted = data.task, data.splits, data.extracted
    for fold, selection in enumerate(selected):
        selection.temperature = _temperature(data, [heads[fold].validated], [fold])
        selection.clips = {
            "train": int(splits.train[:, fold].sum()),
            "valid": int(splits.holdouts[:, fold, : len(heads[fold].validated)].sum()),
            "test": int(splits.test[:, fold].sum()),
        }
    logits = [data.logits(fold.tested, test) for fold, test in zip(heads, splits.test.T, strict=True)]
    tested = Tested(
        task,
        np.concatenate([extracted.rows[test] for test in splits.test.T]),
        torch.cat(logits),
        torch.cat([each / one.temperature for each, one in zip(logits, selected, strict=True)]),
        [len(each) for each in logits],
    )
    result = ProbeResult(
        **origins(task, data.model, extracted.unreadable, extracted.partial),
        **tested.numbers(selected, data.seed),
        **computed(described(data.labels.device), "float32"),
        **extracted.readout,
        knn=knn or _knn(data),
        warnings=left_out(task, len(extracted.unreadable)) + _all_equal(data) + warnings,
        settings={"clip_seconds": CLIP_SECONDS, **settings},
        calibration=tested.calibration(_temperature(data, kept.validated, range(len(kept.validated)))),
        **about,
    )
    return Probe(result, data, learning, kept, tested)


def _all_equal(data: ProbeData) -> list[str]:
    if not all_equal(data.features):
        return []
    return [
        "All embeddings are equal, so the result is chance: the encoder ignores its input, or the recordings "
        "are all the same to it (silence, one recording under many names)."
    ]


def _temperature(data: ProbeData, heads: Sequence[Sequence[Head]], folds: Iterable[int]) -> float:
    """Fitted on the validation clips of these folds, each with the head of its hold-out."""
    pairs = [
        (head, data.splits.holdouts[:, fold, i])
        for fold, of_fold in zip(folds, heads, strict=True)
        for i, head in enumerate(of_fold)
    ]
    logits = torch.cat([data.logits(head, valid) for head, valid in pairs])
    return fit_temperature(logits, torch.cat([data.labels_of(valid) for _, valid in pairs]))


def _knn(data: ProbeData) -> dict[str, Any]:
    """Nearest neighbours among the training and held-out clips."""
    scores = []
    for train, test in zip(data.splits.train_and_valid.T, data.splits.test.T, strict=True):
        rows, asked = data.index(train), select(data.features, data.index(test))
        scores.append(knn_scores(select(data.features, rows), data.labels[rows], asked, data.classes).cpu())
    return nearest_neighbours(data, scores, "cosine of the plain features")


def nearest_neighbours(data: ProbeData, scores: Sequence[Tensor], distance: str) -> dict[str, Any]:
    """The metric of each fold's votes (m, C), the mean and its 95% interval, as in `results.json`."""
    labels = [data.labels_of(test) for test in data.splits.test.T]
    values, value, ci = over_folds(data.task.metric, scores, labels, data.seed)
    return {"value": value, "ci": ci, "folds": values, "k": NEIGHBOURS, "distance": distance}
