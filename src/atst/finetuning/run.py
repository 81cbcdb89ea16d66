"""A whole fine-tuning: trains and tests each fold, or the one split, and keeps one model."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from safetensors.torch import load_file

from atst.errors import AtstError, UsageError, unknown
from atst.finetuning.fit import Job, Outcome, Split, fit
from atst.finetuning.network import Network
from atst.finetuning.result import Finetuned, measure
from atst.scoring.splits import make_splits
from atst.tasks import Task
from atst.training.launch import is_first_process

REFIT = "all"  # name of the training on all clips, after the folds


def finetune(job: Job, protocol: str, fold: int | None = None, resume: bool = False) -> Finetuned | None:
    """Fine-tune on every fold of a task, or its one split, and test each once.

    None if it was stopped, and in all processes but the first. `fold` runs that one alone. With all folds
    the network to keep is trained again on all labelled clips, for the median of the folds' epochs; with few
    labels it is the first fold's. Raises `AtstError` when a split of the task has no readable clip.
    """
    splits, selected_on = _splits(job, fold)
    _read_ahead(job, splits)
    # Later findings differ between processes, and a resumed fine-tuning has others.
    everything = job.clips.readable(np.arange(len(job.task)))
    splits = [replace(split, train=job.clips.readable(split.train)) for split in splits]
    outcomes: list[Outcome] = []
    for split in splits:
        outcome = fit(job, split, resume)
        if outcome is None:
            return None
        outcomes.append(outcome)
    kept, kept_on = splits[0], job.labels_used
    if len(splits) > 1 and job.few_shot is None:
        nothing, epochs = everything[:0], round(float(np.median([outcome.epoch for outcome in outcomes])))
        kept = Split(REFIT, everything, nothing, nothing, epochs=max(epochs, 1))
        kept_on = "all labelled clips, test folds included: the metric was measured on other networks"
        if fit(job, kept, resume) is None:
            return None
    elif kept.fold is not None:
        kept_on += f", none of them in fold {kept.fold}"
    if not is_first_process():
        return None
    network = Network(job.model, len(job.task.label_names), job.recipe).eval()
    network.load_state_dict(load_file(job.folder / "training" / kept.name / "network.safetensors"))
    return measure(job, protocol, splits, outcomes, selected_on, kept_on, network)


def check_fold(task: Task, fold: int | None) -> None:
    """Raises `UsageError` for a fold that the task does not have."""
    if fold is not None and task.folds is None:
        raise UsageError(f"--fold {fold}: task {task.name} has splits, not folds.")
    if fold is not None and fold not in task.folds:  # type: ignore[operator]
        raise unknown("fold", str(fold), [str(number) for number in np.unique(task.folds)])  # type: ignore[arg-type]


def _splits(job: Job, fold: int | None) -> tuple[list[Split], str]:
    """The clips of each training, and a description of how the epoch is selected.

    Where the last epoch is tested nothing needs to be selected, so nothing is held out for that.
    """
    task, last = job.task, job.recipe.select == "last"
    rows = np.arange(len(task))
    made = make_splits(task, rows, job.recipe.seed, job.few_shot)
    train, valid = made.train, made.valid
    if last and made.held_out:
        train, valid = made.train_and_valid, np.zeros_like(valid)
    folds: Sequence[int | None] = made.folds or [None]
    splits = [
        Split("split" if name is None else f"fold-{name}", rows[training], rows[held_out], rows[test], name)
        for name, training, held_out, test in zip(folds, train.T, valid.T, made.test.T, strict=True)
        if fold is None or name == fold
    ]
    if last or not valid.any():
        return splits, "nothing (the last epoch is tested)"
    return splits, f"{made.held_out}, held out" if made.held_out else "the validation split"


def _read_ahead(job: Job, splits: Sequence[Split]) -> None:
    """Read training and validation clips into memory; test clips wait until the training is over."""
    wanted = np.unique(np.concatenate([rows for split in splits for rows in (split.train, split.valid)]))
    job.clips.keep(wanted.tolist())
    for split in splits:
        for name, rows in (("training", split.train), ("validation", split.valid)):
            if len(rows) and not len(job.clips.readable(rows)):
                first = job.clips.unreadable[int(rows[0])]
                raise AtstError(f"task {job.task.name}: no {name} clip can be read, the first: {first}")
