"""A probe's numbers, as `results.json` holds them."""

from dataclasses import asdict, dataclass, field
from typing import Any

from atst.scoring.computed import Computed


@dataclass
class Selection:
    """What validation chose for one classifier, and how it then did on its test clips."""

    fold: int | None
    learning_rate: float  # of a linear head for a batch of 256
    epoch: int
    valid: float | None  # the metric on the validation clips; None if there were none
    value: float  # the metric on the test clips
    temperature: float  # fitted on the validation clips; 1 if there were none
    clips: dict[str, int]  # in train, valid and test
    hidden: int = 0  # layers before the linear one
    init: str = ""  # of their weights


@dataclass
class Tried:
    """A point of a grid, and what validation said of it."""

    hidden: int
    learning_rate: float
    init: str
    epoch: int  # with the best metric
    valid: float  # that metric; -1 if it diverged


@dataclass
class SeedResult:
    """What one of several draws of training clips gave."""

    seed: int
    value: float
    knn: float
    selected: list[Selection]


@dataclass
class ProbeResult(Computed):
    """What a probe gave; metrics are in 0..1."""

    task: str
    model: str
    protocol: str
    pooling: str
    layers: int
    metric: str
    value: float  # on the test clips; with folds the mean over them
    ci: tuple[float, float]  # 95% interval over what `ci_over` says
    seed: int
    selected_on: (
        str  # what rate, epoch and the like were chosen on, and what was trained afterwards, in words
    )
    learning_rates: list[float]  # swept
    selected: list[Selection]  # one for each fold
    knn: dict[str, Any]
    clips: int
    skipped: list[tuple[str, str]]  # (clip, reason)
    warnings: list[str]
    fingerprint: str  # of the model
    classifier: str = "linear"  # or what else was trained on the features
    tried: list[Tried] = field(default_factory=list)  # where more than rates were searched
    settings: dict[str, Any] = field(default_factory=dict)
    calibration: dict[str, float] = field(
        default_factory=dict
    )  # the kept head's temperature; errors of others
    ci_over: str = "test clips"
    trained_on: str = "all training clips"  # or how many labels were used at most
    seeds: list[SeedResult] = field(default_factory=list)  # of few labels; `selected` is that of the first
    task_fingerprint: str = ""
    partial: list[tuple[str, str]] = field(default_factory=list)  # (clip, what is missing) of those cut short

    @property
    def description(self) -> str:
        """How it was measured, for tables."""
        return protocol_description(asdict(self), self.protocol)


def protocol_description(result: dict[str, Any], name: str) -> str:
    """How a result, as `results.json` holds it, was measured; `name` of the protocol comes first."""
    words = f"{name}: {result['layers']} blocks, {result['pooling']} pooling"
    return words if result["protocol"] == "paper" else f"{words}, {result['classifier']}"
