"""Measured and published figures as one table."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from atst.evaluation.results import protocol_words
from atst.output.atomic import new_file
from atst.output.html import Alert, Part, Section, Table, write_report
from atst.tasks.published import OTHERS, PublishedResult, published

COLUMNS = (
    "task",
    "model",
    "protocol",
    "generation",
    "metric",
    "value",
    "low",
    "high",
    "knn",
    "source",
    "note",
)
HEADER = (
    "task",
    "model",
    "metric",
    "value",
    "95% interval",
    "kNN",
    "protocol",
    "generation",
    "source",
    "note",
)
PROBED = {"paper": ("linear", "2023")}  # the code that the paper's probe was compared with is of 2023


@dataclass(frozen=True)
class Row:
    """A measured or published figure; `value` and its interval in 0..1."""

    task: str
    model: str
    protocol: str
    generation: str  # of the authors' code: 2022, 2023 or unknown; own: not theirs
    metric: str
    value: float
    low: float | None
    high: float | None
    knn: float | None
    source: str
    note: str = ""  # of a published one: why it is not to be compared with what was measured

    @property
    def kind(self) -> str:
        """What was done, as published figures call it: `linear`, `finetune` or else."""
        return self.protocol.split(":")[0].split(" by ")[0]


def probe_row(title: str, name: str, result: Mapping[str, Any]) -> Row:
    """A probe's `results.json` as a row."""
    kind, generation = PROBED.get(result["protocol"], (result["protocol"], "own"))
    words = protocol_words(dict(result), kind)
    return _measured(title, name, words, generation, result, result["knn"]["value"])


def finetune_row(title: str, name: str, result: Mapping[str, Any]) -> Row:
    """A fine-tuning's `results.json` as a row."""
    words = f"finetune by {result['protocol']}: {result['pooling']} pooling"
    return _measured(title, name, words, result["generation"], result, None)


def _measured(
    title: str, name: str, words: str, generation: str, result: Mapping[str, Any], knn: float | None
) -> Row:
    low, high = result["ci"]
    return Row(title, name, words, generation, result["metric"], result["value"], low, high, knn, "here")


def published_rows(task: str, measured: Sequence[Row]) -> list[Row]:
    """The published figures of a task; first those of a protocol and generation that was measured.

    The others bear a note that says why not to compare them.
    """
    done = {(row.kind, row.generation) for row in measured}
    rows = [_published(figure, done) for figure in published(task)]
    return sorted(rows, key=lambda row: row.note != "")


def _published(figure: PublishedResult, done: set[tuple[str, str]]) -> Row:
    note = ""
    if figure.protocol not in {kind for kind, _ in done}:
        note = "another protocol"
    elif figure.generation == OTHERS:
        note = "generation unknown"
    elif (figure.protocol, figure.generation) not in done:
        note = "another generation"
    value = figure.value / 100
    what = (figure.protocol, figure.generation, figure.metric, value)
    return Row(figure.task, figure.model, *what, None, None, None, figure.source, note)


def write_table(folder: Path, rows: Sequence[Row], alerts: Sequence[str]) -> None:
    """Write `table.md`, `table.csv` and `report.html`."""
    with new_file(folder / "table.md") as path:
        path.write_text(markdown(rows), encoding="utf-8")
    with new_file(folder / "table.csv") as path, path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows(["" if (v := getattr(row, c)) is None else v for c in COLUMNS] for row in rows)
    parts: list[Part] = [Table(HEADER, [_cells(row) for row in rows]), *map(Alert, alerts)]
    write_report(folder / "report.html", "Models and tasks", [Section("", parts)])


def markdown(rows: Sequence[Row]) -> str:
    """The table in Markdown."""
    lines = [HEADER, ["---"] * len(HEADER), *(_cells(row) for row in rows)]
    return "\n".join("| " + " | ".join(c.replace("|", "\\|") for c in line) + " |" for line in lines) + "\n"


def _cells(row: Row) -> list[str]:
    interval = "" if row.low is None else f"{row.low:.3f} to {row.high:.3f}"
    knn = "" if row.knn is None else f"{row.knn:.3f}"
    numbers = [row.metric, f"{row.value:.3f}", interval, knn]
    return [row.task, row.model, *numbers, row.protocol, row.generation, row.source, row.note]
