"""A finished fine-tuning, and how its numbers come from its trainings."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import chain

import numpy as np
import torch

from atst.finetuning.fit import Job, Outcome, Split
from atst.finetuning.network import Network, readout
from atst.finetuning.recipe import GENERATIONS
from atst.model.device import described
from atst.scoring.calibration import fit_temperature
from atst.scoring.clips import left_out, unseen
from atst.scoring.result import Result, Selection, Tested, computed, origins
from atst.sound.audio import CLIP_SECONDS


@dataclass(kw_only=True)
class FinetuneResult(Result):
    """The result of a fine-tuning; its settings are the recipe."""

    generation: str  # of the protocol's code: 2022, 2023 or own
    kept: str  # description of what the kept model was trained on


@dataclass
class Finetuned:
    """A finished fine-tuning: its result, and what its files and report are made from."""

    result: FinetuneResult
    tested: Tested
    outcomes: list[Outcome]  # of each fold
    network: Network  # to keep


def measure(
    job: Job,
    protocol: str,
    splits: Sequence[Split],
    outcomes: list[Outcome],
    selected_on: str,
    kept: str,
    network: Network,
) -> Finetuned:
    """The numbers of finished trainings; `splits` and `outcomes` fold by fold.

    One temperature for all folds is fitted on the validation clips of each.
    """
    task, recipe = job.task, job.recipe
    valid, rows = (
        np.array(list(chain.from_iterable(of_folds)), dtype=np.int64)
        for of_folds in zip(*((outcome.valid_rows, outcome.test_rows) for outcome in outcomes), strict=True)
    )
    validated = torch.cat([outcome.valid for outcome in outcomes])
    temperature = round(fit_temperature(validated, torch.from_numpy(task.labels[valid])), 6)
    logits = torch.cat([outcome.test for outcome in outcomes])
    tested = Tested(task, rows, logits, logits / temperature, [len(outcome.test) for outcome in outcomes])
    selected = [_selection(job, *training) for training in zip(splits, outcomes, strict=True)]
    result = FinetuneResult(
        **origins(task, job.model, job.clips.unreadable, job.clips.partial),
        **tested.numbers(selected, recipe.seed),
        **computed(described(job.device, job.devices), recipe.precision),
        protocol=protocol,
        generation=GENERATIONS[protocol],
        **readout(job.model, recipe).options(),
        selected_on=selected_on,
        calibration=tested.calibration(temperature),
        trained_on=job.labels_used,
        kept=kept,
        warnings=_warnings(job, splits, outcomes),
        settings={"clip_seconds": CLIP_SECONDS, **asdict(recipe)},
    )
    return Finetuned(result, tested, outcomes, network)


def _warnings(job: Job, splits: Sequence[Split], outcomes: Sequence[Outcome]) -> list[str]:
    rows = np.arange(len(job.task))
    train = np.stack([np.isin(rows, job.clips.readable(split.train)) for split in splits], axis=1)
    test = np.stack([np.isin(rows, outcome.test_rows) for outcome in outcomes], axis=1)
    return left_out(job.task, len(job.clips.unreadable)) + unseen(job.task, rows, train, test)


def _selection(job: Job, split: Split, outcome: Outcome) -> Selection:
    epochs = outcome.history.rows
    valid = epochs[outcome.epoch - 1].get("valid", math.nan)
    return Selection(
        fold=split.fold,
        learning_rate=job.recipe.learning_rate,
        epoch=outcome.epoch,
        epochs=len(epochs),
        valid=None if math.isnan(valid) else valid,
        clips={
            "train": len(job.clips.readable(split.train)),
            "valid": len(outcome.valid_rows),
            "test": len(outcome.test_rows),
        },
    )
