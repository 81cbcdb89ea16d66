"""What a fine-tuning does: flat typed keys, the authors' (of either generation) for their tasks, or `own`."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import yaml

from atst.errors import UsageError, unknown
from atst.model.audio_model import POOLINGS
from atst.model.folder import LONGEST_SEGMENT, SHORTEST_SEGMENT
from atst.training import recipe as settings
from atst.training.precision import PRECISIONS

CHOICES = {
    "pooling": POOLINGS,
    "loss": ("bce", "cross_entropy"),
    "precision": PRECISIONS,
    "select": ("last", "best"),
}
OWN = "own"
# Each protocol, and when its code is from; of several that have a task the first is the default.
GENERATIONS = {"paper": "2022", "authors2023": "2023", OWN: "own"}


@dataclass(frozen=True)
class Recipe:
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
            if getattr(self, key) not in valid:
                raise unknown(key, getattr(self, key), valid)
        for key in ("max_epochs", "accumulate", "epoch_steps", "validate_epochs"):
            if getattr(self, key) < 1:
                raise UsageError(f"{key} must be at least 1, not {getattr(self, key)}.")
        if self.learning_rate <= 0:
            raise UsageError(f"learning_rate must be more than 0, not {self.learning_rate}.")
        if self.batch_size < 2:
            raise UsageError("batch_size must be at least 2: the head normalises over the batch.")
        for key in ("warmup_epochs", "freeze", "mixup", "mixup_bank", "patience", "clip_norm", "seed"):
            if getattr(self, key) < 0:
                raise UsageError(f"{key} must not be negative, not {getattr(self, key)}.")
        for key in ("layer_decay", "mixup_probability", "drop_path"):
            if not 0.0 <= getattr(self, key) <= 1.0:
                raise UsageError(f"{key} must be between 0 and 1, not {getattr(self, key)}.")
        if self.segment_seconds and not SHORTEST_SEGMENT <= self.segment_seconds <= LONGEST_SEGMENT:
            allowed = f"{SHORTEST_SEGMENT} to {LONGEST_SEGMENT}, or 0 for the model's own"
            raise UsageError(f"segment_seconds must be {allowed}, not {self.segment_seconds}.")
        if min(self.masks) < 0 or self.checkpoint_minutes < 0:
            raise UsageError("masks and checkpoint_minutes must not be negative.")
        if self.workers < -1:
            raise UsageError(f"workers must be -1 (automatic), 0 or more, not {self.workers}.")

    def dump(self) -> str:
        """The recipe as YAML, every key."""
        return yaml.safe_dump(asdict(self) | {"masks": list(self.masks)}, sort_keys=False)


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
    return from_mapping(settings.load(name, __package__, OWN) | settings.parse(overrides))


def override(recipe: Recipe, overrides: Sequence[str]) -> Recipe:
    """A recipe with `key=value` changes."""
    return from_mapping(asdict(recipe) | settings.parse(overrides))


def from_mapping(values: Mapping[str, Any]) -> Recipe:
    """A recipe from its keys; every key must be there."""
    return settings.from_mapping(Recipe, values)
