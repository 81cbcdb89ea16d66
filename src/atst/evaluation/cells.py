"""A cell of a plan: which stored result can be used again, and how a new one is measured."""

import functools
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from atst.errors import TrainingError, UsageError
from atst.evaluation.features import prepare
from atst.evaluation.hear import HEAR_SETTINGS, hear_probe
from atst.evaluation.linear import PAPER_SETTINGS, linear_probe
from atst.evaluation.plan import Cell, Plan
from atst.evaluation.report import write_probe
from atst.evaluation.simple import SIMPLE_SETTINGS, simple_probe
from atst.model import load as models
from atst.output.atomic import write_text
from atst.output.version import KEY, check_version
from atst.scoring.clips import task_fingerprint
from atst.scoring.result import RESULTS, read_results
from atst.sound.audio import CLIP_SECONDS
from atst.tasks import Task, load_task, task_names

START = "cell.json"
FORMAT_VERSION = 1  # of it
PROBES = {"paper": linear_probe, "simple": simple_probe, "hear": hear_probe}
PROBE_SETTINGS: dict[str, dict[str, Any]] = {
    "paper": PAPER_SETTINGS,
    "simple": SIMPLE_SETTINGS,
    "hear": HEAR_SETTINGS,
}


@dataclass(frozen=True)
class Finetuning:
    """Fine-tuning as the command does it: what a result must contain, and how to make it.

    `run` continues what is in the folder and leaves `results.json` there.
    """

    expected: Callable[[Cell, Task], dict[str, Any]]  # `protocol` and `settings`
    run: Callable[[Cell, Task, str, Path], None]


class Bench:
    """Measures the cells of a plan. Each task and each model is read once for comparison."""

    def __init__(self, plan: Plan, out: Path, finetuning: Finetuning, device: str, cache: bool) -> None:
        self.plan, self.out, self.finetuning = plan, out, finetuning
        self.device, self.cache = device, cache
        self.task = functools.cache(self._task)
        self._fingerprint = functools.cache(_fingerprint)

    def folder(self, cell: Cell) -> Path:
        """Where a cell's results are."""
        return self.out / cell.folder

    def stored(self, cell: Cell) -> dict[str, Any] | None:
        """The `results.json` of a cell, if weights, labels, seed, protocol and settings agree."""
        return matching(self.folder(cell), self._wanted(cell))

    def begun(self, cell: Cell) -> bool:
        """Whether a measurement of just this cell was interrupted."""
        return _read(self.folder(cell) / START) == self._wanted(cell)

    def measure(self, cell: Cell) -> dict[str, Any]:
        """Measure a cell and return its `results.json`."""
        folder, wanted = self.folder(cell), self._wanted(cell)
        _make_room(folder, wanted)
        if cell.setting.finetunes:
            self.finetuning.run(cell, self.task(cell.task, cell.seed), self.plan.models[cell.model], folder)
        else:
            self._probe(cell, folder)
        result = matching(folder, wanted)
        if result is None:
            raise TrainingError("the model or the task changed while it was measured; start again.")
        return result

    def _probe(self, cell: Cell, folder: Path) -> None:
        encoder = models.load(self.plan.models[cell.model], device=self.device, seed=cell.seed)
        task, device = self.task(cell.task, cell.seed), self.device
        data = prepare(encoder, task, seed=cell.seed, cache=self.cache, device=device, few_shot=cell.few_shot)
        write_probe(PROBES[str(cell.setting.protocol)](data), folder, brief=True)

    def _wanted(self, cell: Cell) -> dict[str, Any]:
        """What the result must hold."""
        task, source = self.task(cell.task, cell.seed), self.plan.models[cell.model]
        if cell.few_shot is not None:
            cell.few_shot.check(task.name, task.multi_label)
        if cell.setting.finetunes:
            expected = self.finetuning.expected(cell, task)
        else:
            protocol = str(cell.setting.protocol)
            settings = {"clip_seconds": CLIP_SECONDS, **PROBE_SETTINGS[protocol]}
            expected = {"protocol": protocol, "settings": settings}
        if cell.setting.protocol != "hear":
            expected["trained_on"] = (
                "all training clips" if cell.few_shot is None else cell.few_shot.description
            )
        wanted = {
            "fingerprint": self._fingerprint(source, cell.seed if source.startswith("random:") else 0),
            "task_fingerprint": task_fingerprint(task),
            "seed": cell.seed,
            **expected,
        }
        return dict(json.loads(json.dumps(wanted)))  # as a file holds it

    def _task(self, title: str, seed: int) -> Task:
        """A registered task's name goes with the folder of its data; else the source is the task itself."""
        source = self.plan.tasks[title]
        registered = title != source and Path(source).is_dir() and title in task_names()
        return load_task(title, source, seed=seed) if registered else load_task(source, seed=seed)


def _fingerprint(model: str, seed: int) -> str:
    return str(models.load(model, seed=seed).fingerprint)


def matching(folder: Path, wanted: dict[str, Any]) -> dict[str, Any] | None:
    """The result in a folder if it agrees with what is wanted; it may have further settings."""
    result = read_results(folder)
    if result is None or not isinstance(result.get("settings", {}), dict):
        return None
    flat = result | {"settings": None}
    settings = wanted.get("settings", {})
    held = {key: result.get("settings", {}).get(key) for key in settings}
    same = all(flat.get(key) == value for key, value in wanted.items() if key != "settings")
    return result if same and held == settings else None


def _make_room(folder: Path, wanted: dict[str, Any]) -> None:
    """Remove the files of a different measurement, and note what this one is of."""
    before = _read(folder / START)
    if before is not None and (before != wanted or (folder / RESULTS).exists()):
        shutil.rmtree(folder)
    write_text(folder / START, json.dumps({KEY: FORMAT_VERSION, **wanted}, indent=2) + "\n")


def _read(path: Path) -> dict[str, Any] | None:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(values, dict):
        return None
    check_version(values.pop(KEY, None), FORMAT_VERSION, path, UsageError)
    return values
