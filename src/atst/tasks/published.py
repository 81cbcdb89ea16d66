"""Published results on the registered tasks, to compare with."""

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path

OTHERS = "unknown"  # generation


@dataclass(frozen=True)
class PublishedResult:
    """One published result."""

    task: str
    model: str
    protocol: str  # "linear" or "finetune", and details where known
    generation: str  # of the ATST authors' code: 2022, 2023, or unknown, as other methods' all are
    metric: str
    value: float  # in percent, as published
    source: str  # where it was published


def published(task: str | None = None) -> list[PublishedResult]:
    """The published results of a task, or all of them."""
    return [result for result in _table() if task is None or result.task == task]


@cache
def _table() -> tuple[PublishedResult, ...]:
    with Path(__file__).with_name("published.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    return tuple(PublishedResult(**{**row, "value": float(row["value"])}) for row in rows)  # type: ignore[arg-type]
