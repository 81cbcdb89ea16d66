"""A whole fine-tuning: each fold or the one split trained and tested, the result, the model to keep."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor

from atst.errors import AtstError, UsageError, unknown
from atst.evaluation.features import CLIP_SECONDS
from atst.evaluation.results import left_out
from atst.finetuning.fit import Job, Outcome, Part, fit
from atst.finetuning.network import Network
from atst.scoring.calibration import expected_calibration_error, fit_temperature
from atst.scoring.metrics import bootstrap_interval, bootstrap_values, score
from atst.scoring.per_class import unseen
from atst.scoring.splits import divide
from atst.tasks import Task
from atst.training.launch import is_first_process

POOLING, LAYERS = "mean", 1
REFIT = "all"  # name of the training on all clips, after the folds


@dataclass
class Choice:
    """How one training went: the epoch that was kept, and how it did."""

    fold: int | None
    epoch: int  # from 1
    epochs: int  # trained
    valid: float | None  # the metric on the validation clips, if there are any
    value: float  # the metric on the test clips
    clips: dict[str, int]  # in train, valid and test


@dataclass
class FinetuneResult:
    """A fine-tuning's numbers, as `results.json` holds them; metrics are in 0..1."""

    task: str
    model: str
    protocol: str
    pooling: str
    layers: int
    metric: str
    value: float  # on the test clips; with folds the mean over them
    ci: tuple[float, float]  # 95% bootstrap interval over test clips
    seed: int
    chosen_on: str  # which epoch is tested, in words
    chosen: list[Choice]  # one for each fold
    calibration: dict[str, float]  # temperature; expected calibration error of test clips before and after it
    trained_on: str  # how many labels were used at most, in words
    kept: str  # what the kept model was trained on, in words
    clips: int
    skipped: list[tuple[str, str]]  # (clip, reason)
    warnings: list[str]
    fingerprint: str  # of the model that was started from
    settings: dict[str, Any]  # the recipe


@dataclass
class Finetuned:
    """A finished fine-tuning: its result, and what its files and report are made from."""

    result: FinetuneResult
    task: Task
    outcomes: list[Outcome]  # of each fold
    tested: NDArray[np.int64]  # (m,) indices of clips, fold by fold
    logits: Tensor  # (m, C) of them, divided by the temperature
    network: Network  # to keep


def finetune(job: Job, protocol: str, fold: int | None = None, resume: bool = False) -> Finetuned | None:
    """Fine-tune on every fold of a task, or its one split, and test each once.

    None if it was stopped, and in all processes but the first. `fold` runs that one alone. With all folds
    the network to keep is trained again on all labelled clips, for the median of the folds' epochs; with few
    labels it is the first fold's. Raises `AtstError` when a part of the task has no readable clip.
    """
    parts, chosen_on = _parts(job, fold)
    _read_ahead(job, parts)
    # Later findings differ between processes, and a resumed fine-tuning has others.
    everything = job.clips.readable(np.arange(len(job.task)))
    parts = [replace(part, train=job.clips.readable(part.train)) for part in parts]
    outcomes: list[Outcome] = []
    for part in parts:
        outcome = fit(job, part, resume)
        if outcome is None:
            return None
        outcomes.append(outcome)
    kept, kept_on = parts[0], "all training clips" if job.few is None else job.few.words
    if len(parts) > 1 and job.few is None:
        kept = _refit(everything, outcomes)
        kept_on = "all labelled clips, test folds included: the metric was measured on other networks"
        if fit(job, kept, resume) is None:
            return None
    elif kept.fold is not None:
        kept_on += f", none of them in fold {kept.fold}"
    if not is_first_process():
        return None
    classes = len(job.task.label_names)
    network = Network(job.model, classes, job.recipe.segment_seconds, job.recipe.seed).eval()
    network.load_state_dict(load_file(job.folder / "training" / kept.name / "network.safetensors"))
    calibration = _calibrate(job.task, outcomes)
    result = _result(job, protocol, parts, outcomes, chosen_on, kept_on, calibration)
    rows = np.concatenate([np.array(outcome.test_rows, dtype=np.int64) for outcome in outcomes])
    logits = torch.cat([outcome.test for outcome in outcomes]) / calibration["temperature"]
    return Finetuned(result, job.task, outcomes, rows, logits, network)


def check_fold(task: Task, fold: int | None) -> None:
    """Raises `UsageError` for a fold that the task does not have."""
    if fold is not None and task.folds is None:
        raise UsageError(f"--fold {fold}: task {task.name} has splits, not folds.")
    if fold is not None and fold not in task.folds:  # type: ignore[operator]
        raise unknown("fold", str(fold), [str(number) for number in np.unique(task.folds)])  # type: ignore[arg-type]


def _parts(job: Job, fold: int | None) -> tuple[list[Part], str]:
    """The trainings of the readable clips, and in words which epoch is tested.

    Where the last epoch is tested nothing needs to be chosen, so nothing is held out for that.
    """
    task, last = job.task, job.recipe.select == "last"
    rows = np.arange(len(task))
    divided = divide(task, rows, job.recipe.seed, job.few)
    train, valid = divided.train, divided.valid
    if last and divided.held_out:
        train, valid = train | valid, np.zeros_like(valid)
    names = [None] if divided.folds is None else divided.folds
    parts = [
        Part("split" if name is None else f"fold-{name}", rows[own], rows[choose], rows[test], name)
        for name, own, choose, test in zip(names, train.T, valid.T, divided.test.T, strict=True)
        if fold is None or name == fold
    ]
    if last or not valid.any():
        return parts, "nothing (the last epoch is tested)"
    return parts, f"{divided.held_out}, held out" if divided.held_out else "the validation split"


def _read_ahead(job: Job, parts: Sequence[Part]) -> None:
    """Read training and validation clips into memory; a test split waits until the training is over."""
    wanted = np.unique(np.concatenate([np.concatenate([part.train, part.valid]) for part in parts]))
    job.clips.keep(wanted.tolist())
    for part in parts:
        for name, rows in (("training", part.train), ("validation", part.valid)):
            if len(rows) and not len(job.clips.readable(rows)):
                first = job.clips.faults[int(rows[0])]
                raise AtstError(f"task {job.task.name}: no {name} clip can be read, the first: {first}")


def _refit(everything: NDArray[np.int64], outcomes: Sequence[Outcome]) -> Part:
    nothing = np.zeros(0, dtype=np.int64)
    epochs = round(float(np.median([outcome.epoch for outcome in outcomes])))
    return Part(REFIT, everything, nothing, nothing, epochs=max(epochs, 1))


def _calibrate(task: Task, outcomes: Sequence[Outcome]) -> dict[str, float]:
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


def _result(
    job: Job,
    protocol: str,
    parts: Sequence[Part],
    outcomes: Sequence[Outcome],
    chosen_on: str,
    kept: str,
    calibration: dict[str, float],
) -> FinetuneResult:
    task, recipe = job.task, job.recipe
    chosen = [_choice(job, part, outcome) for part, outcome in zip(parts, outcomes, strict=True)]
    draws = [
        bootstrap_values(task.metric, o.test, _labels(task, o.test_rows), recipe.seed + i)
        for i, o in enumerate(outcomes)
    ]
    value = float(np.mean([choice.value for choice in chosen]))
    faults = sorted(job.clips.faults.items())
    return FinetuneResult(
        task=task.name,
        model=job.model.name,
        protocol=protocol,
        pooling=POOLING,
        layers=LAYERS,
        metric=task.metric,
        value=value,
        ci=bootstrap_interval(task.metric, draws, value),
        seed=recipe.seed,
        chosen_on=chosen_on,
        chosen=chosen,
        calibration=calibration,
        trained_on="all training clips" if job.few is None else job.few.words,
        kept=kept,
        clips=len(task) - len(faults),
        skipped=[(task.names[index], reason) for index, reason in faults],
        warnings=_warnings(job, parts, outcomes),
        fingerprint=job.model.fingerprint,
        settings={"clip_seconds": CLIP_SECONDS, **asdict(recipe)},
    )


def _warnings(job: Job, parts: Sequence[Part], outcomes: Sequence[Outcome]) -> list[str]:
    task = job.task
    rows = np.arange(len(task))
    train = np.stack([np.isin(rows, job.clips.readable(part.train)) for part in parts], axis=1)
    test = np.stack([np.isin(rows, outcome.test_rows) for outcome in outcomes], axis=1)
    return left_out(task, len(job.clips.faults)) + unseen(task, rows, train, test)


def _choice(job: Job, part: Part, outcome: Outcome) -> Choice:
    if not outcome.test_rows:
        raise AtstError(f"task {job.task.name}: no test clip can be read.")
    logs, kept = outcome.history.rows, outcome.epoch
    valid = logs[kept - 1].get("valid", math.nan)
    labels = _labels(job.task, outcome.test_rows)
    return Choice(
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
