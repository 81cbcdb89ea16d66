"""Recipes of pre-training runs: flat typed keys from a bundled recipe, a file and overrides."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from atst.errors import UsageError
from atst.model.conv_encoder import STEMS
from atst.model.folder import LONGEST_SEGMENT, SHORTEST_SEGMENT
from atst.training import recipe as settings
from atst.training.augment import MIXUP_DOMAINS
from atst.training.precision import PRECISIONS

SAMPLINGS = ("uniform", "sqrt_duration")
DEFAULT = "tiny"
SHORTEST_MASKED = 0.3  # seconds in which two masks of different starts have room


@dataclass(frozen=True)
class Recipe(settings.Settings):
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
    ema: float  # teacher decay at the start
    weight_decay: tuple[float, float]  # at the start and the end
    drop_path: float
    mixup: bool
    resize_crop: bool
    same_segment: float  # share of pairs whose views are of one segment; true, 1, is the paper's ablation
    precision: str  # of PRECISIONS; a run that has started has decided
    compile: bool
    workers: int  # loader processes; -1: as many as the cores allow
    checkpoint_steps: int  # 0: by time only
    checkpoint_minutes: float  # 0: by steps only
    keep_checkpoints: int
    seed: int
    # What the paper does not have is off by default.
    stem: str = "patches"
    projector_input: str = "cls"  # or statistics over time of the stem and of every block
    objective: str = "byol"  # or infonce, over the clips of a micro-batch on all devices
    temperature: float = 0.2  # of infonce
    token_drop: float = 0.0  # share of the tokens that the student's blocks do without
    ema_end: float = 1.0  # teacher decay at the end
    beta2: float = 0.999  # of AdamW
    mixup_domain: str = "normalised"  # or power
    time_stretch: float = 1.0  # longest stretch of a view, and its inverse the shortest
    equaliser_db: float = 0.0  # most that a smooth random equaliser changes a band of a view
    gain_db: float = 0.0  # most that the level of a view is changed
    second_segment_seconds: float = 0.0  # of the second view, where it is another than the first's
    subset: int = 0  # clips of the corpus that are drawn and used; 0: all
    subset_seed: int = 0  # of that draw
    local_weight: float = 0.0  # share of the loss of masked frames in the whole
    sharded: bool = False  # divide networks and optimiser over the devices, instead of a copy on each

    @property
    def both_seconds(self) -> tuple[float, float]:
        """Lengths of the segments of the two views."""
        return self.segment_seconds, self.second_segment_seconds or self.segment_seconds

    @property
    def segments(self) -> str:
        """The lengths for people: `6`, or `9 and 6`."""
        return " and ".join(f"{seconds:g}" for seconds in dict.fromkeys(self.both_seconds))

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> Self:
        """As for any recipe; `same_segment` may also be true or false."""
        same = values.get("same_segment")
        return super().from_mapping(
            {**values, "same_segment": float(same)} if isinstance(same, bool) else values
        )

    def __post_init__(self) -> None:
        self.check_choice("stem", STEMS)
        self.check_choice("size", STEMS[self.stem].sizes)
        self.check_choice("projector_input", ("cls", "statistics"))
        self.check_choice("objective", ("byol", "infonce"))
        self.check_choice("mixup_domain", MIXUP_DOMAINS)
        self.check_choice("sampling", SAMPLINGS)
        self.check_choice("precision", PRECISIONS)
        self.check_range(SHORTEST_SEGMENT, LONGEST_SEGMENT, "segment_seconds")
        if self.second_segment_seconds:
            self.check_range(SHORTEST_SEGMENT, LONGEST_SEGMENT, "second_segment_seconds")
        self.check_range(2, math.inf, "batch_size")  # the heads normalise over the batch
        self.check_range(1, math.inf, "accumulate", "max_steps", "keep_checkpoints")
        self.check_range(0, math.inf, "min_seconds", "warmup_steps", "checkpoint_steps", "checkpoint_minutes")
        self.check_range(0, math.inf, "seed", "subset", "subset_seed")
        self.check_range(-1, math.inf, "workers")
        self.check_range(0, 1, "ema", "ema_end", "beta2", "drop_path", "token_drop", "same_segment")
        self.check_range(0, 1, "local_weight")
        self.check_range(0, math.inf, "equaliser_db", "gain_db")
        self.check_range(1, 4, "time_stretch")
        self.check_range(0.01, 10, "temperature")
        for key in ("drop_path", "token_drop", "beta2"):
            if getattr(self, key) == 1:
                raise UsageError(f"{key} must be less than 1.")
        if not STEMS[self.stem].has_cls and self.projector_input == "cls" and self.local_weight < 1:
            others = " or local_weight=1" * (self.stem == "frame")
            raise UsageError(
                f"stem={self.stem} has no CLS token: it needs projector_input=statistics{others}."
            )
        if self.stem != "conv" and self.token_drop:
            raise UsageError("token_drop needs stem=conv.")
        if self.local_weight:
            self._check_local()
        if self.clip_seconds <= 0 or self.learning_rate <= 0:
            raise UsageError("clip_seconds and learning_rate must be more than 0.")
        if self.min_seconds > self.clip_seconds:
            raise UsageError(
                f"min_seconds ({self.min_seconds}) is more than clip_seconds ({self.clip_seconds})."
            )

    def _check_local(self) -> None:
        """Masked frames are compared between views of the same seconds."""
        if self.stem == "conv" or self.projector_input != "cls":
            raise UsageError("local_weight needs stem=patches or frame, and projector_input=cls.")
        if self.same_segment != 1 or self.time_stretch != 1 or len(set(self.both_seconds)) > 1:
            raise UsageError(
                "local_weight compares frames of the same time: it needs same_segment=true, time_stretch=1 "
                "and no second_segment_seconds."
            )
        self.check_range(SHORTEST_MASKED, LONGEST_SEGMENT, "segment_seconds")


def resolve(recipe: str | Path = DEFAULT, overrides: Sequence[str] = ()) -> Recipe:
    """A bundled recipe's name or a YAML file, with `key=value` overrides.

    A file may name only some keys and a `base` recipe for the rest (default: `tiny`). Raises
    `UsageError` for an unknown recipe or key (naming the nearest) and for a value of the wrong type.
    """
    return Recipe.from_mapping(settings.load(recipe, __package__, DEFAULT) | settings.parse(overrides))


def names() -> list[str]:
    """The bundled recipes."""
    return settings.bundled(__package__)
