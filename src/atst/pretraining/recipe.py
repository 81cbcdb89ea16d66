"""What a pre-training run does: a flat set of typed keys, from a bundled recipe, a file and overrides."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from atst.errors import UsageError, unknown
from atst.model.encoder import SIZES
from atst.model.folder import LONGEST_SEGMENT, SHORTEST_SEGMENT
from atst.training import recipe as settings
from atst.training.precision import PRECISIONS

SAMPLINGS = ("uniform", "sqrt_duration")
DEFAULT = "tiny"


@dataclass(frozen=True)
class Recipe:
    """Values of one run. `batch_size` is clips a device and micro-batch; `learning_rate` is for 256 clips."""

    size: str
    segment_seconds: float
    clip_seconds: float  # longer files count as consecutive clips of this length
    min_seconds: float  # shorter clips are left out
    sampling: str  # uniform: each clip once an epoch; sqrt_duration: as often as the root of its length
    batch_size: int
    accumulate: int  # micro-batches an optimiser step
    max_steps: int  # optimiser steps
    warmup_steps: int
    learning_rate: float
    ema: float  # teacher decay at the start; 1 at the end
    weight_decay: tuple[float, float]  # at the start and the end
    drop_path: float
    mixup: bool
    resize_crop: bool
    same_segment: bool  # both views from one segment, the paper's ablation
    precision: str  # of PRECISIONS; a run that has started has decided
    compile: bool
    workers: int  # loader processes; -1: as many as the cores allow
    checkpoint_steps: int  # 0: by time only
    checkpoint_minutes: float  # 0: by steps only
    keep_checkpoints: int
    seed: int

    def __post_init__(self) -> None:
        if self.size not in SIZES:
            raise unknown("encoder size", self.size, SIZES)
        if self.sampling not in SAMPLINGS:
            raise unknown("sampling", self.sampling, SAMPLINGS)
        if self.precision not in PRECISIONS:
            raise unknown("precision", self.precision, PRECISIONS)
        if not SHORTEST_SEGMENT <= self.segment_seconds <= LONGEST_SEGMENT:
            allowed = f"{SHORTEST_SEGMENT} to {LONGEST_SEGMENT}"
            raise UsageError(f"segment_seconds must be {allowed}, not {self.segment_seconds}.")
        if self.min_seconds > self.clip_seconds:
            raise UsageError(
                f"min_seconds ({self.min_seconds}) is more than clip_seconds ({self.clip_seconds})."
            )
        self._check_ranges()

    def _check_ranges(self) -> None:
        for key in ("batch_size", "accumulate", "max_steps", "keep_checkpoints"):
            if getattr(self, key) < 1:
                raise UsageError(f"{key} must be at least 1, not {getattr(self, key)}.")
        for key in ("clip_seconds", "learning_rate"):
            if getattr(self, key) <= 0:
                raise UsageError(f"{key} must be more than 0, not {getattr(self, key)}.")
        for key in ("min_seconds", "warmup_steps", "checkpoint_steps", "checkpoint_minutes", "seed"):
            if getattr(self, key) < 0:
                raise UsageError(f"{key} must not be negative, not {getattr(self, key)}.")
        for key in ("ema", "drop_path"):
            if not 0.0 <= getattr(self, key) <= 1.0:
                raise UsageError(f"{key} must be between 0 and 1, not {getattr(self, key)}.")
        if self.drop_path == 1.0:
            raise UsageError("drop_path must be less than 1.")
        if self.batch_size < 2:
            raise UsageError("batch_size must be at least 2: the heads normalise over the batch.")
        if self.workers < -1:
            raise UsageError(f"workers must be -1 (automatic), 0 or more, not {self.workers}.")

    def dump(self) -> str:
        """The recipe as YAML, every key."""
        values = asdict(self) | {"weight_decay": list(self.weight_decay)}
        return yaml.safe_dump(values, sort_keys=False)


def resolve(recipe: str | Path = DEFAULT, overrides: Sequence[str] = ()) -> Recipe:
    """A bundled recipe's name or a YAML file, with `key=value` overrides.

    A file may name only some keys and a `base` recipe for the rest (default: `tiny`). Raises
    `UsageError` for an unknown recipe or key (naming the nearest) and for a value of the wrong type.
    """
    return from_mapping(settings.load(recipe, __package__, DEFAULT) | settings.parse(overrides))


def override(recipe: Recipe, overrides: Sequence[str]) -> Recipe:
    """A recipe with `key=value` changes."""
    return from_mapping(asdict(recipe) | settings.parse(overrides))


def from_mapping(values: Mapping[str, Any]) -> Recipe:
    """A recipe from its keys; every key must be there."""
    return settings.from_mapping(Recipe, values)


def names() -> list[str]:
    """The bundled recipes."""
    return settings.bundled(__package__)
