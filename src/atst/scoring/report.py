"""What the reports of a probe and of a fine-tuning have in common."""

from collections.abc import Sequence

from atst.output.html import Headline, Section, Table
from atst.scoring.per_class import chance
from atst.scoring.result import Result, Tested
from atst.tasks import Task
from atst.tasks.task import SPLITS


def headline(result: Result, tested: Tested, more: str = "") -> Headline:
    """The metric, and what it is of; `more` sentences follow."""
    folds = [selection.fold for selection in result.selected]
    over = f"Mean over {len(folds)} folds" if len(folds) > 1 else f"Fold {folds[0]} alone"
    return Headline(
        f"{result.metric} {result.value:.3f}",
        f"{'On the test split' if folds == [None] else over}; trained on {result.trained_on}; "
        f"{len(tested.rows)} test clips. 95% interval over {result.ci_over}: {interval_text(result.ci)}. "
        f"Chance is about {chance(tested.task, tested.rows):.3f}.{more}",
    )


def selected_table(result: Result) -> Table:
    """What validation selected for each fold, and how that did."""
    header = ["fold", "learning rate", "epoch", "of", "validation", "test"]
    rows = [
        [
            text(s.fold),
            f"{s.learning_rate:g}",
            s.epoch,
            s.epochs,
            text(s.valid),
            text(s.value),
            *s.clips.values(),
        ]
        for s in result.selected
    ]
    return Table([*header, *(f"{split} clips" for split in SPLITS)], rows)


def last_sections(result: Result, task: Task, rows: dict[str, str]) -> list[Section]:
    """The settings, with `rows` of the protocol's own, and what was skipped."""
    versions = [" ".join(pair) for pair in result.versions.items()]
    settings = {
        "task": f"{result.task}. {task.about}".strip(". "),
        "model": f"{result.model} ({result.fingerprint})",
        **rows,
        "seed": str(result.seed),
        "computed on": ", ".join([result.device, result.precision, *versions]),
        **{key: f"{value:.4g}" for key, value in result.calibration.items()},
        **{key: str(value) for key, value in result.settings.items()},
    }
    table = Table(["", ""], [[key.replace("_", " "), value] for key, value in settings.items()])
    skipped = Section("Skipped clips", [Table(["clip", "reason"], result.skipped)])
    return [Section("Settings", [table]), *([skipped] if result.skipped else [])]


def interval_text(ci: Sequence[float]) -> str:
    """An interval as tables show it."""
    low, high = ci
    return f"{low:.3f} to {high:.3f}"


def text(value: float | None) -> str:
    """A metric, or the number of a fold, if there is one."""
    return "-" if value is None else f"{value:.3f}" if isinstance(value, float) else str(value)
