"""`atst evaluate`: models x tasks becomes one table."""

import csv
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from atst.errors import AtstError, TrainingError, UsageError, unknown
from atst.evaluation.hear import hear_probe
from atst.evaluation.output import write_probe
from atst.evaluation.probe import linear_probe
from atst.evaluation.results import protocol_words
from atst.model import load as models
from atst.output.atomic import new_file
from atst.output.html import Alert, Part, Section, Table, write_report
from atst.output.text import writable
from atst.scoring.clips import task_fingerprint
from atst.tasks import Task, load_task, published, task_names

KEYS = ("models", "tasks", "seed", "protocol")
PROTOCOLS = {"paper": linear_probe, "hear": hear_probe}
COLUMNS = ("task", "model", "protocol", "metric", "value", "low", "high", "knn", "source")


@dataclass(frozen=True)
class Row:
    """A measured or published figure; `value` and its interval in 0..1."""

    task: str
    model: str
    protocol: str
    metric: str
    value: float
    low: float | None
    high: float | None
    knn: float | None
    source: str


def evaluate(
    plan: Path | str,
    /,
    *,
    out: Path | str,
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto",
    cache: bool = True,
) -> list[Row]:
    """Probe several models on several tasks and put all figures into one table.

    For example:

        atst evaluate plan.yaml --out results

    where plan.yaml says, for instance:

        models: {mine: runs/mine, untrained: "random:tiny", log-mel: logmel}
        tasks: {esc50: data/ESC-50, my sounds: labelled/meta.csv}
        seed: 0

    Both may also be plain lists; `protocol: hear` probes by HEAR's protocol. A probe that is in the folder
    already, of a model with the same weights, of the same clips, labels and parts, of the same seed and
    protocol, is not measured again, so an interrupted call goes on where it stopped. A model or task
    that fails is listed at the end, with exit code 1; the table holds the rest. The files are table.md,
    table.csv and report.html, with published figures beside ours, and a probe's folder for each pair.

    Args:
        plan: A YAML file with models, tasks and, if not 0, the seed, if not `paper`, the protocol.
        out: The folder for the table and the probes.
        device: Where to compute.
        cache: Keep features on disk and read them back.

    Returns:
        The rows of the table.
    """
    named, tasks, seed, protocol = _read(Path(plan))
    folder = Path(out)
    rows: list[Row] = []
    warnings: list[str] = []
    faults: list[str] = []
    for title, source in tasks.items():
        try:
            task = _task(title, source, seed)
        except AtstError as error:
            faults += [f"{name} on {title}: {error}" for name in named]
        else:
            for name, model in named.items():
                where = folder / _plain(title) / _plain(name)
                try:
                    result = _measure(title, task, name, model, seed, protocol, where, device, cache)
                except Exception as error:  # whatever happens to one, the rest of the plan goes on
                    faults.append(f"{name} on {title}: {_reason(error)}")
                else:
                    rows.append(_row(title, name, result))
                    warnings += [f"{name} on {title}: {warning}" for warning in result["warnings"]]
                _write(folder, rows, warnings + faults)
        rows += _published(title)
        _write(folder, rows, warnings + faults)
    print(_markdown(rows))
    for warning in warnings:
        print(f"warning: {writable(warning)}", file=sys.stderr)
    if faults:
        some = "\n  ".join(faults)
        raise TrainingError(f"{len(faults)} of {len(tasks) * len(named)} could not be measured:\n  {some}")
    return rows


def _read(plan: Path) -> tuple[dict[str, str], dict[str, str], int, str]:
    try:
        values = yaml.safe_load(plan.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{plan}: cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"{plan}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise UsageError(f"{plan}: give 'models:' and 'tasks:'.")
    for key in values:
        if key not in KEYS:
            raise unknown(f"key in {plan}", str(key), KEYS)
    seed = values.get("seed", 0)
    if not isinstance(seed, int) or seed < 0:
        raise UsageError(f"{plan}: seed must be a whole number, not '{seed}'.")
    protocol = str(values.get("protocol", "paper"))
    if protocol not in PROTOCOLS:
        raise unknown(f"protocol in {plan}", protocol, PROTOCOLS)
    return _named(plan, values, "models"), _named(plan, values, "tasks"), seed, protocol


def _named(plan: Path, values: dict[str, Any], key: str) -> dict[str, str]:
    """Entries by the name they bear in the table; a list's entries bear their own."""
    entries = values.get(key)
    if isinstance(entries, list):
        entries = {str(entry): entry for entry in entries}
    if not isinstance(entries, dict) or not entries:
        raise UsageError(f"{plan}: '{key}' must be a list, or 'name: value' lines, and not empty.")
    folders: dict[str, object] = {}
    for name in entries:
        other = folders.setdefault(_plain(str(name)), name)
        if other != name:
            raise UsageError(
                f"{plan}: {key}: '{other}' and '{name}' would share the folder '{_plain(str(name))}'; "
                "name one otherwise ('name: value')."
            )
    return {str(name): str(value) for name, value in entries.items()}


def _task(title: str, source: str, seed: int) -> Task:
    """A known task's name goes with the folder of its data; else the source is the task itself."""
    known = title != source and Path(source).is_dir() and title in task_names()
    return load_task(title, source, seed=seed) if known else load_task(source, seed=seed)


def _measure(
    title: str,
    task: Task,
    name: str,
    model: str,
    seed: int,
    protocol: str,
    where: Path,
    device: str,
    cache: bool,
) -> dict[str, Any]:
    """The `results.json` of a probe, read back if it is there already."""
    encoder = models.load(model, device=device, seed=seed)
    wanted = {
        "fingerprint": encoder.fingerprint,
        "task_fingerprint": task_fingerprint(task),
        "seed": seed,
        "protocol": protocol,
    }
    result = _stored(where / "results.json", wanted)
    if result is None:
        print(f"{name} on {title}", file=sys.stderr, flush=True)
        probed = PROTOCOLS[protocol](encoder, task, seed=seed, cache=cache, device=device)
        write_probe(probed, encoder, where)
        result = json.loads((where / "results.json").read_text())
    return result


def _reason(error: Exception) -> str:
    """What a user's mistake says itself; of a defect also its kind."""
    return str(error) if isinstance(error, AtstError) else f"{type(error).__name__}: {error}"


def _row(title: str, name: str, result: dict[str, Any]) -> Row:
    low, high = result["ci"]
    words = protocol_words(result, "linear" if result["protocol"] == "paper" else result["protocol"])
    return Row(
        title, name, words, result["metric"], result["value"], low, high, result["knn"]["value"], "here"
    )


def _stored(path: Path, wanted: dict[str, Any]) -> dict[str, Any] | None:
    try:
        result = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return result if wanted.items() <= {key: result.get(key) for key in wanted}.items() else None


def _plain(name: str) -> str:
    """A name as a folder's: what could mean a path is replaced."""
    return "".join(c if c.isalnum() or c in " ._-" else "-" for c in name).strip(" .") or "unnamed"


def _published(task: str) -> list[Row]:
    return [
        Row(task, f.model, f.protocol, f.metric, f.value / 100, None, None, None, f.source)
        for f in published(task)
    ]


def _write(folder: Path, rows: list[Row], alerts: list[str]) -> None:
    with new_file(folder / "table.md") as path:
        path.write_text(_markdown(rows), encoding="utf-8")
    with new_file(folder / "table.csv") as path, path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows(["" if (v := getattr(row, c)) is None else v for c in COLUMNS] for row in rows)
    parts: list[Part] = [Table(_HEADER, [_cells(row) for row in rows]), *map(Alert, alerts)]
    write_report(folder / "report.html", "Models and tasks", [Section("", parts)])


_HEADER = ("task", "model", "metric", "value", "95% interval", "kNN", "protocol", "source")


def _cells(row: Row) -> list[str]:
    interval = "" if row.low is None else f"{row.low:.3f} to {row.high:.3f}"
    knn = "" if row.knn is None else f"{row.knn:.3f}"
    return [row.task, row.model, row.metric, f"{row.value:.3f}", interval, knn, row.protocol, row.source]


def _markdown(rows: list[Row]) -> str:
    lines = [_HEADER, ["---"] * len(_HEADER), *(_cells(row) for row in rows)]
    return "\n".join("| " + " | ".join(c.replace("|", "\\|") for c in line) + " |" for line in lines) + "\n"
