"""All cells of a plan: measured one after the other, or listed with their state."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from atst.errors import AtstError
from atst.evaluation.cells import Bench
from atst.evaluation.plan import Cell
from atst.evaluation.table import Row, finetuned_row, measured_rows, published_rows, write_table
from atst.output.progress import say
from atst.output.text import print_table, writable
from atst.scoring.clips import task_fingerprint

Result = dict[str, Any]  # a results.json


@dataclass
class Crossed:
    """The rows of a plan's table, what to warn of, and what could not be measured."""

    count: int  # of all that was to be in the table
    warnings: list[str]
    rows: list[Row] = field(default_factory=list)
    failures: Counter[str] = field(default_factory=Counter)

    def warn(self, texts: Iterable[str]) -> None:
        """Add warnings; those of several seeds stand once."""
        self.warnings += [text for text in dict.fromkeys(texts) if text not in self.warnings]

    def fail(self, cell: Cell, error: Exception) -> None:
        """Add a failure: what a user's mistake says itself, of a defect also its kind."""
        reason = str(error) if isinstance(error, AtstError) else f"{type(error).__name__}: {error}"
        self.failures[f"{cell.model} on {cell.task}: {reason}"] += 1


def measure(bench: Bench, finetuned: dict[str, Result]) -> Crossed:
    """Measure what has no result yet; the table's files are updated after every measurement.

    `finetuned` are results of fine-tunings that no plan made, by the names for the table.
    """
    cells = list(bench.plan.cells())
    table = Crossed(len(cells) + len(finetuned), bench.plan.notes())
    used: set[str] = set()
    for title in bench.plan.tasks:
        measured = _measured(bench, title, cells, table)
        there = _fingerprints(bench, title)
        same = {name for name, result in finetuned.items() if result["task_fingerprint"] in there}
        measured += [finetuned_row(title, name, finetuned[name]) for name in finetuned if name in same]
        table.rows += measured + published_rows(title, measured)
        _write(bench, table)
        used |= same
    for name in finetuned.keys() - used:
        task = finetuned[name]["task"]
        table.failures[f"{name}: its task {task}, as it was then, is not one of the plan's"] += 1
    _write(bench, table)
    return table


def show(bench: Bench) -> Crossed:
    """Print every cell and whether it is done; the rows are of those that are."""
    cells = list(bench.plan.cells())
    table = Crossed(len(cells), bench.plan.notes())
    lines, results = [], []
    for cell in cells:
        try:
            result = bench.stored(cell)
            state = "interrupted" if result is None and bench.begun(cell) else "to do"
        except Exception as error:
            table.fail(cell, error)
            result, state = None, "cannot be measured"
        if result is not None:
            state = f"done: {result['metric']} {result['value']:.3f}"
            results.append((cell, result))
        lines.append([cell.task, cell.model, cell.setting.title, cell.labels, str(cell.seed), state])
    print_table(("task", "model", "setting", "labels", "seed", "state"), lines)
    print(f"{len(results)} of {len(cells)} measurements are done.")
    table.rows = measured_rows(results)
    return table


def _measured(bench: Bench, title: str, cells: list[Cell], table: Crossed) -> list[Row]:
    """The rows of one task's cells."""
    results: list[tuple[Cell, Result]] = []
    rows: list[Row] = []
    for place, cell in enumerate(cells, 1):
        if cell.task != title:
            continue
        try:
            result = bench.stored(cell)
            if result is None:
                say(f"{place} of {len(cells)}: {writable(str(cell))}")
                result = bench.measure(cell)
        except Exception as error:  # whatever happens to one, the rest of the plan goes on
            table.fail(cell, error)
        else:
            results.append((cell, result))
            table.warn(f"{cell.model} on {title}: {warning}" for warning in result["warnings"])
        rows = measured_rows(results)
        _write(bench, table, rows)
    return rows


def _fingerprints(bench: Bench, title: str) -> set[str]:
    """Those of a task, whose division may depend on the seed; none if it cannot be read."""
    try:
        return {task_fingerprint(bench.task(title, seed)) for seed in bench.plan.seeds}
    except AtstError:
        return set()


def _write(bench: Bench, table: Crossed, more: Iterable[Row] = ()) -> None:
    write_table(bench.out, [*table.rows, *more], [*table.warnings, *table.failures])
