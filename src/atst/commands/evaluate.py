"""`atst evaluate`: models x tasks x protocols becomes one table."""

import shutil
import sys
from contextlib import redirect_stdout
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from atst.commands._options import Flag, Quiet
from atst.commands.finetune import MAY_CHANGE, finetune
from atst.errors import TrainingError, UsageError
from atst.evaluation.cells import Bench, Finetuning, matching
from atst.evaluation.cross import Crossed, measure, show
from atst.evaluation.plan import Cell, Plan, read_plan
from atst.evaluation.table import Row, table_markdown
from atst.finetuning import recipe as recipes
from atst.output import progress
from atst.output.text import writable
from atst.tasks import Task
from atst.training.launch import check_processes, hold, stopped
from atst.training.precision import AUTO

DEVICES = Literal["auto", "cpu", "cuda", "mps"]


def evaluate(
    plan: Path | str,
    /,
    *,
    out: Path | str,
    dry_run: Flag = False,
    device: DEVICES = "auto",
    cache: bool = True,
    quiet: Quiet = False,
) -> list[Row]:
    """Probe and fine-tune several models on several tasks and put all figures into one table.

    For example:

        atst evaluate plan.yaml --out results

    where plan.yaml says, for instance:

        models: {mine: runs/mine, untrained: "random:tiny", log-mel: logmel}
        tasks: {esc50: data/ESC-50, my sounds: labelled/meta.csv}
        protocols: [paper, "finetune:own"]
        shots: [1, 5, all]
        seeds: [0, 1, 2]

    Each combination is measured on its own; a figure of several seeds is their mean, with the interval of
    that mean. Only models and tasks must be given; docs/evaluate.md explains all keys. Results that are
    already in --out for the same weights, clips, labels, splits, seed, protocol and settings are not measured
    again, so an interrupted call continues where it stopped. What fails is listed at the end, with exit code
    1; the table has the rest. The files are table.md, table.csv, table.tex and report.html, and a folder in
    cells/ for each measurement. Published figures are listed beside ours: first those of the same protocol
    and generation of the authors' code, then others, with a note that says so.

    Args:
        plan: A YAML file with the models, tasks, protocols, labels and seeds to combine.
        out: The folder for the table and the measurements.
        dry_run: Measure nothing; print all combinations and which of them are done.
        device: Where to compute.
        cache: Keep features on disk and read them back.
        quiet: Show no progress.

    Returns:
        The rows of the table.
    """
    read = read_plan(Path(plan), tuple(recipes.GENERATIONS))
    _check_recipes(Path(plan), read)
    tuned = {name: _finetuned(folder) for name, folder in read.finetuned.items()}
    bench = Bench(read, Path(out), Finetuning(_expected, _finetuning(device)), device, cache)
    if dry_run:
        return _finished(show(bench))
    check_processes()
    try:
        with hold(bench.out), progress.quiet(quiet):
            table = measure(bench, tuned)
    except KeyboardInterrupt:
        raise stopped("The same command goes on where it stopped.") from None
    print(table_markdown(table.rows))
    return _finished(table)


def _finished(table: Crossed) -> list[Row]:
    """The rows. Raises `TrainingError` that lists what could not be measured, if there is something."""
    for warning in table.warnings:
        print(f"warning: {writable(warning)}", file=sys.stderr)
    if table.failures:
        counted = table.failures.items()
        lines = [f"{text} ({times} times)" if times > 1 else text for text, times in counted]
        some = "\n  ".join(lines)
        raise TrainingError(f"{table.failures.total()} of {table.count} could not be measured:\n  {some}")
    return table.rows


def _finetuned(path: str) -> dict[str, Any]:
    """The `results.json` of a finished fine-tuning."""
    result = matching(Path(path), {})
    if result is None or not {"protocol", "generation", "task", "task_fingerprint"} <= result.keys():
        raise UsageError(f"{path}: not the --out folder of a finished atst finetune.")
    return result


def _check_recipes(path: Path, plan: Plan) -> None:
    """Raises `UsageError` for a wrong recipe key, before anything is measured."""
    for setting in plan.settings:
        try:
            recipes.resolve("", recipes.OWN, setting.overrides)
        except UsageError as error:
            raise UsageError(f"{path}: {setting.title}: {error}") from None


def _expected(cell: Cell, task: Task) -> dict[str, Any]:
    """Protocol and settings of a fine-tuning's result, but for its speed and what is decided at its start."""
    protocol = recipes.protocol_of(task.name, cell.setting.protocol)
    recipe = asdict(recipes.resolve(task.name, protocol, [*cell.setting.overrides, f"seed={cell.seed}"]))
    settings = {key: value for key, value in recipe.items() if key not in MAY_CHANGE}
    if settings["precision"] == AUTO:
        del settings["precision"]
    return {"protocol": protocol, "settings": settings}


def _finetuning(device: DEVICES) -> Any:
    """What fine-tunes one cell."""

    def run(cell: Cell, task: Task, model: str, folder: Path) -> None:
        few_shot = cell.few_shot
        with redirect_stdout(sys.stderr):  # the table alone is this command's output
            finetune(
                task,
                model=model,
                out=folder,
                protocol=cell.setting.protocol,  # type: ignore[arg-type]
                overrides=cell.setting.overrides,
                shots=None if few_shot is None else few_shot.shots,
                fraction=None if few_shot is None else few_shot.fraction,
                seed=cell.seed,
                device=device,
                resume=True,
            )
        for name in ("model", "training"):  # those of a whole plan would fill the disk
            shutil.rmtree(folder / name, ignore_errors=True)

    return run
