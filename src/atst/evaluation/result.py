"""What a probe gives: the trained heads tested, and the numbers as `results.json` holds them."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from atst.evaluation.features import POOLING, ProbeData
from atst.evaluation.knn import NEIGHBOURS, knn_scores
from atst.evaluation.lazy import all_equal, select
from atst.evaluation.mlp import Search
from atst.evaluation.sweep import Sweep
from atst.model.classifier import Head
from atst.model.device import described
from atst.model.embedder import Embedder
from atst.scoring.calibration import expected_calibration_error, fit_temperature
from atst.scoring.clips import CLIP_SECONDS, left_out, task_fingerprint
from atst.scoring.metrics import BOOTSTRAP, bootstrap_interval, bootstrap_values, score
from atst.scoring.result import Result, computed


@dataclass
class Selection:
    """What validation selected for one classifier, and how that did on its test clips."""

    fold: int | None
    learning_rate: float  # of a linear head for a batch of 256; 0 if it was not trained by steps
    epoch: int  # 0 likewise
    valid: float | None  # the metric on the validation clips; None if there were none
    value: float = math.nan  # the metric on the test clips
    temperature: float = 1.0  # fitted on the validation clips; 1 if there were none
    clips: dict[str, int] = field(default_factory=dict)  # in train, valid and test
    hidden: int = 0  # layers before the linear one
    init: str = ""  # of their weights


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
    selected: list[Selection]  # one for each fold
    knn: dict[str, Any]
    classifier: str = "linear"  # or what else was trained on the features
    tried: list[Tried] = field(default_factory=list)  # where more than learning rates were searched
    ci_over: str = "test clips"  # what the interval is over
    seeds: list[SeedResult] = field(default_factory=list)  # with few labels; `selected` is of the first

    @property
    def description(self) -> str:
        """Of the protocol, for tables."""
        return protocol_description(asdict(self), self.protocol)


def protocol_description(result: dict[str, Any], name: str) -> str:
    """How a result, as `results.json` holds it, was measured; `name` of the protocol comes first."""
    description = f"{name}: {result['layers']} blocks, {result['pooling']} pooling"
    return description if result["protocol"] == "paper" else f"{description}, {result['classifier']}"


def interval_text(ci: Sequence[float]) -> str:
    """An interval as tables show it."""
    low, high = ci
    return f"{low:.3f} to {high:.3f}"


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
    tested: NDArray[np.int64]  # (m,) index in the task of each tested clip, fold by fold
    logits: Tensor  # (m, C) of them
    calibrated: Tensor  # (m, C) divided by the temperature of their fold


def measure(
    model: Embedder,
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
        model: what the features are of.
        data: features, labels and splits.
        learning: how the heads were trained; None where nothing was selected.
        selected, heads: one for each fold.
        kept: the head for use.
        settings: those of the training.
        warnings: the protocol's own.
        knn: of nearest neighbours; None: those of the plain features.
        about: further fields of the `ProbeResult`.
    """
    task, splits, metric = data.task, data.splits, data.task.metric
    logits = [data.logits(fold.tested, test) for fold, test in zip(heads, splits.test.T, strict=True)]
    labels = [data.labels_of(test) for test in splits.test.T]
    for fold, selection in enumerate(selected):
        selection.value = float(score(metric, logits[fold], labels[fold]))
        selection.temperature = _temperature(data, [heads[fold].validated], [fold])
        selection.clips = {
            "train": int(splits.train[:, fold].sum()),
            "valid": int(splits.holdouts[:, fold, : len(heads[fold].validated)].sum()),
            "test": int(splits.test[:, fold].sum()),
        }
    calibrated = torch.cat([each / one.temperature for each, one in zip(logits, selected, strict=True)])
    draws = [bootstrap_values(metric, logits[i], labels[i], data.seed + i) for i in range(splits.count)]
    value = float(np.mean([selection.value for selection in selected]))
    everything, truth = torch.cat(logits), torch.cat(labels)
    result = ProbeResult(
        task=task.name,
        model=model.name,
        pooling=POOLING,
        layers=model.depth,
        metric=metric,
        value=value,
        ci=bootstrap_interval(metric, draws, value),
        ci_over=BOOTSTRAP[metric],
        seed=data.seed,
        selected=list(selected),
        knn=knn or _knn(data),
        clips=len(data.labels),
        skipped=data.extracted.skipped,
        partial=data.extracted.partial,
        warnings=left_out(task, len(data.extracted.skipped)) + _all_equal(data) + warnings,
        fingerprint=model.fingerprint,
        task_fingerprint=task_fingerprint(task),
        settings={"clip_seconds": CLIP_SECONDS, **settings},
        calibration={
            "temperature": _temperature(data, kept.validated, range(len(kept.validated))),
            "expected_calibration_error_before": expected_calibration_error(everything, truth),
            "expected_calibration_error_after": expected_calibration_error(calibrated, truth),
        },
        **computed(described(data.labels.device), "float32"),
        **about,
    )
    tested = np.concatenate([data.extracted.rows[test] for test in splits.test.T])
    return Probe(result, data, learning, kept, tested, everything, calibrated)


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
    metric = data.task.metric
    labels = [data.labels_of(test) for test in data.splits.test.T]
    values = [float(score(metric, *fold)) for fold in zip(scores, labels, strict=True)]
    draws = [bootstrap_values(metric, scores[i], labels[i], data.seed + i) for i in range(len(scores))]
    value = float(np.mean(values))
    ci = bootstrap_interval(metric, draws, value)
    return {"value": value, "ci": ci, "folds": values, "k": NEIGHBOURS, "distance": distance}
