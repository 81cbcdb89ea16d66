"""What every protocol does with the classifiers that it trained: measure them on the test clips."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from atst.evaluation.features import POOLING, Features
from atst.evaluation.gather import all_equal
from atst.evaluation.heads import Head, Labelled
from atst.evaluation.knn import NEIGHBOURS
from atst.evaluation.mlp import Trained
from atst.evaluation.results import ProbeResult, Selection
from atst.evaluation.sweep import Sweep
from atst.model.device import described
from atst.scoring.calibration import expected_calibration_error, fit_temperature
from atst.scoring.clips import CLIP_SECONDS, left_out, task_fingerprint
from atst.scoring.computed import computed
from atst.scoring.metrics import BOOTSTRAP, bootstrap_interval
from atst.scoring.splits import Splits
from atst.tasks import Task


@dataclass
class Search:
    """How the networks of HEAR's protocol were trained."""

    tried: list[Trained]  # each grid point, on the first fold
    folds: list[Trained]  # the chosen one, on each fold


@dataclass
class Probe:
    """A finished probe: its result, and what its files and report are made from."""

    result: ProbeResult
    task: Task
    features: Features
    splits: Splits
    learning: Sweep | Search
    tested: NDArray[np.int64]  # (m,) rows of `features`, fold by fold
    logits: Tensor  # (m, C) of them
    calibrated: Tensor  # (m, C) divided by the temperature of their fold
    head: Head


@dataclass
class Chosen:
    """What validation chose for one fold."""

    learning_rate: float
    epoch: int
    valid: float  # the metric on the validation clips; NaN without
    validated: list[Head]  # of each turn; the temperature is fitted on their validation clips
    tested: Head  # the only one of them, or trained again on more clips
    network: dict[str, Any] = field(default_factory=dict)  # of a `Selection`, where the head is not linear


def measure(
    model: Any,
    data: Labelled,
    splits: Splits,
    features: Features,
    learning: Sweep | Search,
    chosen: list[Chosen],
    refit: tuple[Head, list[list[Head]]] | None,
    settings: dict[str, Any],
    warnings: list[str],
    **about: Any,
) -> Probe:
    """Test the chosen heads, once each; calibrate them; compare with nearest neighbours.

    Args:
        model: what the features are of.
        data: features and labels of n clips.
        splits: which of them train, choose and test.
        features: the same features, with what was skipped.
        learning: how the heads came about.
        chosen: one for each fold.
        refit: a head for use that was trained on all clips, and the heads of each fold and turn on whose
            validation logits its temperature is fitted; without it the first fold's head is for use.
        settings: more than those of the features.
        warnings: the protocol's own.
        about: further fields of the `ProbeResult`.
    """
    logits = [data.logits(own.tested, test) for own, test in zip(chosen, splits.test.T, strict=True)]
    choices = [_choice(data, splits, fold, own, logits[fold]) for fold, own in enumerate(chosen)]
    calibrated = torch.cat([own / choice.temperature for own, choice in zip(logits, choices, strict=True)])
    draws = [data.bootstrap(logits[fold], test, fold) for fold, test in enumerate(splits.test.T)]
    folds = range(splits.count)
    temperature = choices[0].temperature if refit is None else _temperature(data, splits, refit[1], folds)
    metric, value = data.task.metric, float(np.mean([choice.value for choice in choices]))
    result = ProbeResult(
        task=data.task.name,
        model=model.name,
        pooling=POOLING,
        layers=model.depth,
        metric=metric,
        value=value,
        ci=bootstrap_interval(metric, draws, value),
        ci_over=BOOTSTRAP[metric],
        seed=data.seed,
        selected=choices,
        knn=_knn(data, splits),
        clips=len(features.rows),
        skipped=features.skipped,
        partial=features.partial,
        warnings=left_out(data.task, len(features.skipped)) + _without_spread(data) + warnings,
        fingerprint=model.fingerprint,
        task_fingerprint=task_fingerprint(data.task),
        settings={"clip_seconds": CLIP_SECONDS, **settings},
        calibration={"temperature": temperature, **_errors(data, splits, torch.cat(logits), calibrated)},
        **computed(described(data.labels.device), "float32"),
        **about,
    )
    order = np.concatenate([np.flatnonzero(test) for test in splits.test.T])
    head = chosen[0].tested if refit is None else refit[0]
    return Probe(result, data.task, features, splits, learning, order, torch.cat(logits), calibrated, head)


def _without_spread(data: Labelled) -> list[str]:
    if not all_equal(data.features):
        return []
    return [
        "All embeddings are equal, so the result is chance: the encoder ignores its input, or the recordings "
        "are all the same to it (silence, one recording under many names)."
    ]


def _choice(data: Labelled, splits: Splits, fold: int, chosen: Chosen, logits: Tensor) -> Selection:
    return Selection(
        fold=splits.folds[fold] if splits.folds else None,
        learning_rate=chosen.learning_rate,
        epoch=chosen.epoch,
        valid=None if math.isnan(chosen.valid) else round(chosen.valid, 6),
        value=data.score(logits, splits.test[:, fold]),
        temperature=_temperature(data, splits, [chosen.validated], [fold]),
        clips={
            "train": int(splits.train[:, fold].sum()),
            "valid": int(splits.holdouts[:, fold, : len(chosen.validated)].sum()),
            "test": int(splits.test[:, fold].sum()),
        },
        **chosen.network,
    )


def _temperature(data: Labelled, splits: Splits, heads: list[list[Head]], folds: Iterable[int]) -> float:
    """Of these folds' validation clips, each by the head of its fold and turn."""
    asked = [
        (head, splits.holdouts[:, fold, turn])
        for fold, own in zip(folds, heads, strict=True)
        for turn, head in enumerate(own)
    ]
    logits = torch.cat([data.logits(head, valid) for head, valid in asked])
    return fit_temperature(logits, torch.cat([data.labels_of(valid) for _, valid in asked]))


def _errors(data: Labelled, splits: Splits, logits: Tensor, calibrated: Tensor) -> dict[str, float]:
    """What the folds' temperatures did to their scores of the test clips."""
    truth = torch.cat([data.labels_of(test) for test in splits.test.T])
    return {
        "expected_calibration_error_before": expected_calibration_error(logits, truth),
        "expected_calibration_error_after": expected_calibration_error(calibrated, truth),
    }


def _knn(data: Labelled, splits: Splits) -> dict[str, Any]:
    """Nearest neighbours among the training clips (and those held out of them), on the test clips."""
    values = [
        data.knn(train, test) for train, test in zip(splits.train_and_valid.T, splits.test.T, strict=True)
    ]
    return {"value": float(np.mean(values)), "k": NEIGHBOURS, "distance": "cosine of the plain features"}
