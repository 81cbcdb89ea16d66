"""Recipes of fine-tunings: flat typed keys with the authors' values (of either generation), or `own`."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from atst.errors import UsageError
from atst.model.folder import LONGEST_SEGMENT, SHORTEST_SEGMENT
from atst.training import recipe as settings
from atst.training.precision import PRECISIONS

CHOICES = {
    "pooling": ("mean", "published", "statistics"),
    "loss": ("bce", "cross_entropy"),
    "precision": PRECISIONS,
    "select": ("last", "best"),
}
OWN = "own"
# Each protocol, and when its code is from; of several that have a task the first is the default.
GENERATIONS = {"paper": "2022", "authors2023": "2023", OWN: "own"}


@dataclass(frozen=True)
class Recipe(settings.Settings):
    """Values of one fine-tuning. `learning_rate` is for 256 clips a step."""

    max_epochs: int
    warmup_epochs: int  # the learning rate rises from 0
    epoch_steps: int  # fewest optimiser steps of an epoch: a few clips are seen several times in one
    batch_size: int  # clips an optimiser step, of all devices together
    accumulate: int  # micro-batches a step, one after the other; BatchNorm sees one of them
    learning_rate: float
    layer_decay: float  # of the learning rate, from each block to the one below
    freeze: int  # blocks, counted from the input, that keep their weights; all: only the head is trained
    drop_path: float  # stochastic depth of the last block, linear from 0 in the first; in training only
    segment_seconds: float  # of an encoder pass; 0: the model's own
    pooling: str  # of clips longer than a segment, in training and testing
    mixup: float  # a of the weight's distribution Beta(a, a); 0: no mixup
    mixup_probability: float
    mixup_bank: int  # the partner is one of the last so many clips; 0: any training clip
    resize_crop: bool
    masks: tuple[float, float]  # SpecAugment: most mel bands and frames set to 0
    loss: str  # of tasks with one label a clip; several labels: always bce
    balanced: bool  # clips of rare classes are drawn more often
    class_weights: bool  # errors on rare classes count more
    validate_epochs: int  # from one validation to the next; the last epoch always has one
    select: str  # the epoch that is tested: the last, or the best on validation clips
    patience: int  # epochs without a better validation before an early stop; 0: none
    clip_norm: float  # of the gradient; 0: none
    precision: str  # of PRECISIONS; a run that has started has decided
    workers: int  # loader processes; -1: as many as the cores allow
    checkpoint_minutes: float  # besides the one after each epoch; 0: none
    seed: int

    def __post_init__(self) -> None:
        for key, valid in CHOICES.items():
            self.check_choice(key, valid)
        self.check_range(2, math.inf, "batch_size")  # the head normalises over the batch
        self.check_range(1, math.inf, "max_epochs", "accumulate", "epoch_steps", "validate_epochs")
        self.check_range(0, math.inf, "warmup_epochs", "freeze", "mixup", "mixup_bank", "masks", "patience")
        self.check_range(0, math.inf, "clip_norm", "checkpoint_minutes", "seed")
        self.check_range(-1, math.inf, "workers")
        self.check_range(0, 1, "layer_decay", "mixup_probability", "drop_path")
        if self.learning_rate <= 0:
            raise UsageError(f"learning_rate must be more than 0, not {self.learning_rate}.")
        if self.segment_seconds:  # else the model's own
            self.check_range(SHORTEST_SEGMENT, LONGEST_SEGMENT, "segment_seconds")


def known_tasks(protocol: str) -> list[str]:
    """Tasks that have the authors' recipe of this protocol."""
    prefix = f"{protocol}-"
    return [name.removeprefix(prefix) for name in settings.bundled(__package__) if name.startswith(prefix)]


def protocol_of(task: str, asked: str | None) -> str:
    """As asked, else the first of `GENERATIONS` that has the task, else `own`.

    Raises `UsageError` when the authors' values are asked for a task that has none of that generation.
    """
    having = [protocol for protocol in GENERATIONS if protocol == OWN or task in known_tasks(protocol)]
    if asked is not None and asked not in having:
        raise UsageError(
            f"--protocol {asked}: the authors' code of {GENERATIONS[asked]} has no values for '{task}', only "
            f"for {', '.join(known_tasks(asked))}; use --protocol {' or '.join(having)}."
        )
    return asked or having[0]


def resolve(task: str, protocol: str, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe of a task's protocol with `key=value` changes. Raises `UsageError` naming a wrong one."""
    name = OWN if protocol == OWN else f"{protocol}-{task}"
    return Recipe.from_mapping(settings.load(name, __package__, OWN) | settings.parse(overrides))
