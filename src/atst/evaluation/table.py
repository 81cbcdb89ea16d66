"""The table of measured and published figures, and its files."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from atst.evaluation.plan import ALL, Cell
from atst.evaluation.result import protocol_description
from atst.output.atomic import write_csv, write_text
from atst.output.html import Alert, Part, Section, Table, write_report
from atst.output.markup import latex, markdown
from atst.scoring.metrics import mean_interval
from atst.tasks.published import OTHERS, PublishedResult, published

PROBED = {"paper": ("linear", "2023")}  # the code that the paper's probe was compared with is of 2023
NOT_IN_LATEX = ("interval over", "validation", "generation", "note")


@dataclass(frozen=True)
class Row:
    """A measured or published figure; `value` and its interval in 0..1."""

    task: str
    model: str
    setting: str = ""  # the plan's name of the protocol
    protocol: str = ""
    generation: str = ""  # of the authors' code: 2022, 2023 or unknown; own: not theirs
    labels: str = ALL  # all, shots K or fraction F
    seeds: str = ""  # separated by spaces
    metric: str = ""
    value: float = 0.0
    low: float | None = None
    high: float | None = None
    interval_over: str = ""
    knn: float | None = None
    valid: float | None = None  # the metric on validation clips, where there are some; over folds and seeds
    source: str = "here"
    note: str = ""  # why a published figure cannot be compared with the measured ones

    @property
    def kind(self) -> str:
        """What was done, as published figures call it: `linear`, `finetune` or else."""
        return self.protocol.split(":")[0].split(" by ")[0]

    @property
    def cells(self) -> dict[str, str]:
        """As tables show it, by column."""
        return {
            "task": self.task,
            "model": self.model,
            "setting": self.setting,
            "labels": self.labels,
            "metric": self.metric,
            "value": f"{self.value:.3f}",
            "95% interval": "" if self.low is None else f"{self.low:.3f} to {self.high:.3f}",
            "interval over": self.interval_over,
            "kNN": "" if self.knn is None else f"{self.knn:.3f}",
            "validation": "" if self.valid is None else f"{self.valid:.3f}",
            "protocol": self.protocol,
            "generation": self.generation,
            "source": self.source,
            "note": self.note,
        }


HEADER = tuple(Row("", "").cells)


def measured_rows(results: Iterable[tuple[Cell, Mapping[str, Any]]]) -> list[Row]:
    """The rows of cells with their `results.json`: one for all seeds of the same measurement."""
    groups: dict[Cell, list[Mapping[str, Any]]] = {}
    for cell, result in results:
        groups.setdefault(replace(cell, seed=0), []).append(result)
    return [
        _row(cell.task, cell.model, cell.setting.title, cell.labels, found) for cell, found in groups.items()
    ]


def finetuned_row(title: str, name: str, result: Mapping[str, Any]) -> Row:
    """The row of a fine-tuning that no plan made."""
    labels = result.get("trained_on", "all training clips").replace("all training clips", ALL)
    return _row(title, name, "", labels, [result])


def _row(title: str, name: str, setting: str, labels: str, results: Sequence[Mapping[str, Any]]) -> Row:
    """One result as it is; of several seeds the mean, with the interval of that mean over the seeds."""
    first = results[0]
    values = np.array([result["value"] for result in results])
    (low, high), over = first["ci"], first.get("ci_over", "test clips")
    if len(results) > 1:
        (low, high), over = mean_interval(values), f"{len(results)} seeds"
    protocol, generation = _protocol(first)
    return Row(
        task=title,
        model=name,
        setting=setting,
        protocol=protocol,
        generation=generation,
        labels=labels,
        seeds=" ".join(str(result.get("seed", "")) for result in results),
        metric=first["metric"],
        value=float(values.mean()),
        low=low,
        high=high,
        interval_over=over,
        knn=_mean([result["knn"]["value"] for result in results if "knn" in result]),
        valid=_mean([selection["valid"] for result in results for selection in result.get("selected", [])]),
    )


def _mean(values: Sequence[float | None]) -> float | None:
    """None if there are none, or one is none."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known and len(known) == len(values) else None


def _protocol(result: Mapping[str, Any]) -> tuple[str, str]:
    """What was done, in words, and the generation of the authors' code that does it."""
    if "generation" in result:
        return f"finetune by {result['protocol']}: {result['pooling']} pooling", result["generation"]
    kind, generation = PROBED.get(result["protocol"], (result["protocol"], "own"))
    return protocol_description(dict(result), kind), generation


def published_rows(task: str, measured: Sequence[Row]) -> list[Row]:
    """The published figures of a task; first those of a protocol and generation that was measured.

    The others bear a note that says why not to compare them. All are of all labels.
    """
    done = {(row.kind, row.generation) for row in measured if row.labels == ALL}
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
    return Row(
        task=figure.task,
        model=figure.model,
        metric=figure.metric,
        value=figure.value / 100,
        protocol=figure.protocol,
        generation=figure.generation,
        source=figure.source,
        note=note,
    )


def table_markdown(rows: Sequence[Row]) -> str:
    """All columns but those that are empty throughout."""
    return markdown(*_shown(rows, HEADER))


def write_table(folder: Path, rows: Sequence[Row], alerts: Sequence[str]) -> None:
    """Write `table.md`, `table.csv`, `table.tex` and `report.html`."""
    texts = {
        "table.md": table_markdown(rows),
        "table.tex": latex(*_shown(rows, [name for name in HEADER if name not in NOT_IN_LATEX])),
    }
    for name, text in texts.items():
        write_text(folder / name, text)
    columns = [field.name for field in fields(Row)]
    write_csv(folder / "table.csv", columns, (astuple(row) for row in rows))  # None is an empty cell
    parts: list[Part] = [Table(*_shown(rows, HEADER)), *map(Alert, alerts)]
    write_report(folder / "report.html", "Models and tasks", [Section("", parts)])


def _shown(rows: Sequence[Row], columns: Sequence[str]) -> tuple[list[str], list[list[str]]]:
    cells = [row.cells for row in rows]
    header = [name for name in columns if not cells or any(row[name] for row in cells)]
    return header, [[row[name] for name in header] for row in cells]
