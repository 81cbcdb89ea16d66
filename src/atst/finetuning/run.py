"""A whole fine-tuning: trains and tests each fold, or the one split, and keeps one model."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor

from atst.errors import AtstError, UsageError, unknown
from atst.finetuning.fit import Job, Outcome, Part, fit
from atst.finetuning.network import Network
from atst.finetuning.result import FinetuneResult, calibrate, result_of
from atst.scoring.splits import make_splits
from atst.tasks import Task
from atst.training.launch import is_first_process

REFIT = "all"  # name of the training on all clips, after the folds


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
    parts, selected_on = _parts(job, fold)
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
    kept, kept_on = parts[0], "all training clips" if job.few_shot is None else job.few_shot.description
    if len(parts) > 1 and job.few_shot is None:
        kept = _refit(everything, outcomes)
        kept_on = "all labelled clips, test folds included: the metric was measured on other networks"
        if fit(job, kept, resume) is None:
            return None
    elif kept.fold is not None:
        kept_on += f", none of them in fold {kept.fold}"
    if not is_first_process():
        return None
    classes = len(job.task.label_names)
    network = Network(job.model, classes, job.recipe).eval()
    network.load_state_dict(load_file(job.folder / "training" / kept.name / "network.safetensors"))
    calibration = calibrate(job.task, outcomes)
    result = result_of(job, protocol, parts, outcomes, selected_on, kept_on, calibration)
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
    """The trainings of the readable clips, and a description of how the epoch is selected.

    Where the last epoch is tested nothing needs to be chosen, so nothing is held out for that.
    """
    task, last = job.task, job.recipe.select == "last"
    rows = np.arange(len(task))
    divided = make_splits(task, rows, job.recipe.seed, job.few_shot)
    train, valid = divided.train, divided.valid
    if last and divided.held_out:
        train, valid = train | valid, np.zeros_like(valid)
    names = [None] if divided.folds is None else divided.folds
    parts = [
        Part("split" if name is None else f"fold-{name}", rows[training], rows[choose], rows[test], name)
        for name, training, choose, test in zip(names, train.T, valid.T, divided.test.T, strict=True)
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
                first = job.clips.unreadable[int(rows[0])]
                raise AtstError(f"task {job.task.name}: no {name} clip can be read, the first: {first}")


def _refit(everything: NDArray[np.int64], outcomes: Sequence[Outcome]) -> Part:
    nothing = np.zeros(0, dtype=np.int64)
    epochs = round(float(np.median([outcome.epoch for outcome in outcomes])))
    return Part(REFIT, everything, nothing, nothing, epochs=max(epochs, 1))
