"""A plan of `atst evaluate`: the models, tasks, protocols, numbers of labels and seeds to combine."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from atst.errors import UsageError, unknown
from atst.model.baselines import BASELINES
from atst.scoring.splits import FewShot
from atst.training.recipe import read_yaml

KEYS = ("models", "tasks", "protocols", "shots", "fraction", "seeds", "finetuned")
PROBES = ("paper", "simple", "hear")
FINETUNE = "finetune"  # by the task's default protocol, or `finetune:PROTOCOL`
ALL = "all"  # labels


@dataclass(frozen=True)
class Setting:
    """A protocol, under the name that the plan gives it."""

    title: str
    protocol: str | None  # of a fine-tuning, None: the default of the task
    finetunes: bool = False
    overrides: tuple[str, ...] = ()  # of the recipe, each key=value


@dataclass(frozen=True)
class Cell:
    """One measurement of a plan, by the names in it."""

    task: str
    model: str
    setting: Setting
    few_shot: FewShot | None  # None: all labels
    seed: int

    def __str__(self) -> str:
        return f"{self.model} on {self.task}: {self.setting.title}, labels {self.labels}, seed {self.seed}"

    @property
    def labels(self) -> str:
        """How many labels are used: `all`, `shots K` or `fraction F`."""
        if self.few_shot is None:
            return ALL
        shots, fraction = self.few_shot.shots, self.few_shot.fraction
        return f"fraction {fraction}" if shots is None else f"shots {shots}"

    @property
    def folder(self) -> Path:
        """Its folder, relative to that of the plan's results."""
        names = (self.task, self.model, self.setting.title, self.labels, f"seed {self.seed}")
        return Path("cells", *(folder_name(name).replace(" ", "-") for name in names))


@dataclass(frozen=True)
class Plan:
    """What to cross. Models, tasks and finished fine-tunings by the names that they have in the table."""

    models: dict[str, str]
    tasks: dict[str, str]
    settings: list[Setting]
    labels: list[FewShot | None]
    seeds: list[int]
    finetuned: dict[str, str]

    def cells(self) -> Iterator[Cell]:
        """All measurements, task by task; a model without weights is not fine-tuned."""
        crossed = product(self.tasks, self.models, self.settings, self.labels, self.seeds)
        for cell in (Cell(*names) for names in crossed):
            if not (cell.setting.finetunes and self._has_no_weights(cell.model)):
                yield cell

    def notes(self) -> list[str]:
        """What the plan names but does not measure."""
        if not any(setting.finetunes for setting in self.settings):
            return []
        left_out = [name for name in self.models if self._has_no_weights(name)]
        return [f"{name} has no weights and was not fine-tuned." for name in left_out]

    def _has_no_weights(self, name: str) -> bool:
        return self.models[name] in BASELINES and not Path(self.models[name]).exists()


def read_plan(path: Path, finetunings: Sequence[str]) -> Plan:
    """The plan in a YAML file. Raises `UsageError` that names the file and the key.

    `finetunings` are the protocols that `finetune:` may name.
    """
    values = read_yaml(path)
    for key in values:
        if key not in KEYS:
            raise unknown(f"key in {path}", str(key), KEYS)
    plan = Plan(
        models=_texts(path, values, "models"),
        tasks=_texts(path, values, "tasks"),
        settings=_settings(path, values, finetunings),
        labels=_labels(path, values),
        seeds=_seeds(path, values.get("seeds", 0)),
        finetuned=_texts(path, values, "finetuned") if "finetuned" in values else {},
    )
    if plan.labels != [None] and any(setting.protocol == "hear" for setting in plan.settings):
        raise UsageError(f"{path}: shots and fraction do not go with hear, which has no few-shot setting.")
    if not any(True for _ in plan.cells()):
        raise UsageError(f"{path}: nothing to measure: no model has weights to fine-tune.")
    return plan


def folder_name(name: str) -> str:
    """A name as a folder's: what could mean a path is replaced."""
    return "".join(c if c.isalnum() or c in " ._-" else "-" for c in name).strip(" .") or "unnamed"


def _named(path: Path, values: dict[str, Any], key: str) -> dict[str, Any]:
    """Entries by name, each of which gives a folder; those of a list are their own names."""
    entries = values.get(key)
    if isinstance(entries, list):
        entries = {str(entry): entry for entry in entries}
    if not isinstance(entries, dict) or not entries:
        raise UsageError(f"{path}: '{key}' must be a list, or 'name: value' lines, and not empty.")
    folders: dict[str, object] = {}
    for name in entries:
        folder = folder_name(str(name)).replace(" ", "-")
        other = folders.setdefault(folder, name)
        if other != name:
            raise UsageError(
                f"{path}: {key}: '{other}' and '{name}' would share the folder '{folder}'; "
                "name one otherwise ('name: value')."
            )
    return {str(name): value for name, value in entries.items()}


def _texts(path: Path, values: dict[str, Any], key: str) -> dict[str, str]:
    return {name: str(value) for name, value in _named(path, values, key).items()}


def _settings(path: Path, values: dict[str, Any], finetunings: Sequence[str]) -> list[Setting]:
    protocols = values.get("protocols", PROBES[0])
    named = _named(path, {"protocols": [protocols] if isinstance(protocols, str) else protocols}, "protocols")
    return [_setting(path, title, entry, finetunings) for title, entry in named.items()]


def _setting(path: Path, title: str, entry: Any, finetunings: Sequence[str]) -> Setting:
    keys = dict(entry) if isinstance(entry, dict) else {"protocol": entry}
    name = str(keys.pop("protocol", ""))
    valid = [*PROBES, FINETUNE, *(f"{FINETUNE}:{protocol}" for protocol in finetunings)]
    if name not in valid:
        raise unknown(f"protocol in {path}", name, valid)
    if name in PROBES:
        if keys:
            raise UsageError(f"{path}: {title}: only fine-tunings take recipe keys, not {name}.")
        return Setting(title, name)
    if "seed" in keys:
        raise UsageError(f"{path}: {title}: give seeds for the whole plan ('seeds: [0, 1, 2]').")
    overrides = tuple(f"{key}={json.dumps(value, default=str, skipkeys=True)}" for key, value in keys.items())
    return Setting(title, name.partition(":")[2] or None, True, overrides)


def _labels(path: Path, values: dict[str, Any]) -> list[FewShot | None]:
    labels: list[FewShot | None] = []
    for key, kinds in (("shots", int), ("fraction", int | float)):
        entries = values.get(key, [])
        for entry in entries if isinstance(entries, list) else [entries]:
            if entry != ALL and (isinstance(entry, bool) or not isinstance(entry, kinds)):
                wanted = f"a number, a list of numbers, or '{ALL}'"
                raise UsageError(f"{path}: {key} must be {wanted}, not '{entry}'.")
            labels.append(None if entry == ALL else _few_shot(path, key, entry))
    return list(dict.fromkeys(labels)) or [None]


def _few_shot(path: Path, key: str, number: Any) -> FewShot | None:
    try:
        shots, fraction = (number, None) if key == "shots" else (None, float(number))
        return FewShot.from_options(shots, fraction)
    except UsageError as error:
        raise UsageError(f"{path}: {str(error).removeprefix('--')}") from None


def _seeds(path: Path, entries: Any) -> list[int]:
    seeds = entries if isinstance(entries, list) else [entries]
    if not seeds or any(isinstance(seed, bool) or not isinstance(seed, int) or seed < 0 for seed in seeds):
        raise UsageError(f"{path}: seeds must be a whole number or a list of them, not '{entries}'.")
    return list(dict.fromkeys(seeds))
