"""The numbers of a fine-tuning, as `results.json` holds them, and how they come from its trainings."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch import Tensor

from atst.errors import AtstError
from atst.finetuning.fit import Job, Outcome, Part
from atst.finetuning.recipe import GENERATIONS
from atst.model.device import described
from atst.scoring.calibration import expected_calibration_error, fit_temperature
from atst.scoring.clips import CLIP_SECONDS, left_out, task_fingerprint, unseen
from atst.scoring.metrics import bootstrap_interval, bootstrap_values, score
from atst.scoring.result import Result, computed
from atst.tasks import Task

LAYERS = 1


@dataclass
class Selection:
    """How one training went: the epoch that was kept, and how it did."""

    fold: int | None
    epoch: int  # from 1
    epochs: int  # trained
    valid: float | None  # the metric on the validation clips, if there are any
    value: float  # the metric on the test clips
    clips: dict[str, int]  # in train, valid and test


@dataclass(kw_only=True)
class FinetuneResult(Result):
    """The result of a fine-tuning; its settings are the recipe."""

    generation: str  # of the protocol's code: 2022, 2023 or own
    selected: list[Selection]  # one for each fold
    kept: str  # description of what the kept model was trained on


def calibrate(task: Task, outcomes: Sequence[Outcome]) -> dict[str, float]:
    """One temperature for all folds, from the validation clips of each; its effect on the test clips."""
    valid = torch.cat([outcome.valid for outcome in outcomes])
    temperature = fit_temperature(valid, torch.cat([_labels(task, o.valid_rows) for o in outcomes]))
    tested = torch.cat([outcome.test for outcome in outcomes])
    labels = torch.cat([_labels(task, outcome.test_rows) for outcome in outcomes])
    return {
        "temperature": round(temperature, 6),
        "fitted_on_clips": len(valid),
        "expected_calibration_error_before": expected_calibration_error(tested, labels),
        "expected_calibration_error_after": expected_calibration_error(tested / temperature, labels),
    }


def result_of(
    job: Job,
    protocol: str,
    parts: Sequence[Part],
    outcomes: Sequence[Outcome],
    selected_on: str,
    kept: str,
    calibration: dict[str, float],
) -> FinetuneResult:
    """The numbers of finished trainings; `parts` and `outcomes` fold by fold.

    Raises `AtstError` when no test clip of one could be read.
    """
    task, recipe = job.task, job.recipe
    chosen = [_choice(job, part, outcome) for part, outcome in zip(parts, outcomes, strict=True)]
    value = float(np.mean([choice.value for choice in chosen]))
    unreadable = sorted(job.clips.unreadable.items())
    return FinetuneResult(
        task=task.name,
        model=job.model.name,
        protocol=protocol,
        generation=GENERATIONS[protocol],
        pooling=recipe.pooling,
        layers=LAYERS,
        metric=task.metric,
        value=value,
        ci=_interval(task, outcomes, recipe.seed, value),
        seed=recipe.seed,
        selected_on=selected_on,
        selected=chosen,
        calibration=calibration,
        trained_on="all training clips" if job.few_shot is None else job.few_shot.description,
        kept=kept,
        clips=len(task) - len(unreadable),
        skipped=[(task.title(index), task.reason(index, reason)) for index, reason in unreadable],
        warnings=_warnings(job, parts, outcomes),
        fingerprint=job.model.fingerprint,
        task_fingerprint=task_fingerprint(task),
        settings={"clip_seconds": CLIP_SECONDS, **asdict(recipe)},
        partial=[(task.title(index), remark) for index, remark in sorted(job.clips.partial.items())],
        **computed(described(job.device, job.devices), recipe.precision),
    )


def _interval(task: Task, outcomes: Sequence[Outcome], seed: int, value: float) -> tuple[float, float]:
    draws = [
        bootstrap_values(task.metric, o.test, _labels(task, o.test_rows), seed + i)
        for i, o in enumerate(outcomes)
    ]
    return bootstrap_interval(task.metric, draws, value)


def _warnings(job: Job, parts: Sequence[Part], outcomes: Sequence[Outcome]) -> list[str]:
    task = job.task
    rows = np.arange(len(task))
    train = np.stack([np.isin(rows, job.clips.readable(part.train)) for part in parts], axis=1)
    test = np.stack([np.isin(rows, outcome.test_rows) for outcome in outcomes], axis=1)
    return left_out(task, len(job.clips.unreadable)) + unseen(task, rows, train, test)


def _choice(job: Job, part: Part, outcome: Outcome) -> Selection:
    if not outcome.test_rows:
        raise AtstError(f"task {job.task.name}: no test clip can be read.")
    logs, kept = outcome.history.rows, outcome.epoch
    valid = logs[kept - 1].get("valid", math.nan)
    labels = _labels(job.task, outcome.test_rows)
    return Selection(
        fold=part.fold,
        epoch=kept,
        epochs=len(logs),
        valid=None if math.isnan(valid) else valid,
        value=float(score(job.task.metric, outcome.test, labels)),
        clips={
            "train": len(job.clips.readable(part.train)),
            "valid": len(outcome.valid_rows),
            "test": len(outcome.test_rows),
        },
    )


def _labels(task: Task, rows: Sequence[int]) -> Tensor:
    return torch.from_numpy(task.labels[np.array(rows, dtype=np.int64)])
