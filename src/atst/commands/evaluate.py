"""`atst evaluate`: models x tasks becomes one table."""

import json
import sys
from pathlib import Path
from typing import Any, Literal

import yaml

from atst.errors import AtstError, TrainingError, UsageError, unknown
from atst.evaluation.hear import hear_probe
from atst.evaluation.output import write_probe
from atst.evaluation.probe import linear_probe
from atst.evaluation.table import Row, finetune_row, markdown, probe_row, published_rows, write_table
from atst.model import load as models
from atst.output.text import writable
from atst.scoring.clips import task_fingerprint
from atst.tasks import Task, load_task, task_names
from atst.training.launch import check_processes, hold

KEYS = ("models", "tasks", "finetuned", "seed", "protocol")
PROTOCOLS = {"paper": linear_probe, "hear": hear_probe}


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

    Both may also be plain lists; `protocol: hear` probes by HEAR's protocol; `finetuned: {tuned: DIR}` adds
    what atst finetune has measured on one of the tasks. A probe that is in the folder already, of a model
    with the same weights, of the same clips, labels and parts, of the same seed and protocol, is not
    measured again, so an interrupted call goes on where it stopped. A model or task that fails is listed at
    the end, with exit code 1; the table holds the rest. The files are table.md, table.csv and report.html,
    and a probe's folder for each pair. Published figures stand beside ours: first those of the same protocol
    and generation of the authors' code, then others, with a note that says so.

    Args:
        plan: A YAML file with models, tasks and, if not 0, the seed, if not `paper`, the protocol.
        out: The folder for the table and the probes.
        device: Where to compute.
        cache: Keep features on disk and read them back.

    Returns:
        The rows of the table.
    """
    named, tasks, tuned, seed, protocol = _read(Path(plan))
    folder = Path(out)
    check_processes()
    with hold(folder):
        rows, warnings, faults = _rows(folder, named, tasks, tuned, seed, protocol, device, cache)
    print(markdown(rows))
    for warning in warnings:
        print(f"warning: {writable(warning)}", file=sys.stderr)
    if faults:
        some = "\n  ".join(faults)
        count = len(tasks) * len(named) + len(tuned)
        raise TrainingError(f"{len(faults)} of {count} could not be measured:\n  {some}")
    return rows


def _rows(
    folder: Path,
    named: dict[str, str],
    tasks: dict[str, str],
    tuned: dict[str, dict[str, Any]],
    seed: int,
    protocol: str,
    device: str,
    cache: bool,
) -> tuple[list[Row], list[str], list[str]]:
    """The table's rows, warnings, and what could not be measured; the files are written as they come."""
    rows: list[Row] = []
    warnings: list[str] = []
    faults: list[str] = []
    for title, source in tasks.items():
        own: list[Row] = []
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
                    own.append(probe_row(title, name, result))
                    warnings += [f"{name} on {title}: {warning}" for warning in result["warnings"]]
                write_table(folder, rows + own, warnings + faults)
            own += [
                finetune_row(title, name, result)
                for name, result in tuned.items()
                if result["task_fingerprint"] == task_fingerprint(task)
            ]
        rows += own + published_rows(title, own)
        write_table(folder, rows, warnings + faults)
    for name, result in tuned.items():
        if not any(row.model == name and row.source == "here" for row in rows):
            faults.append(f"{name}: its task {result['task']}, as it was then, is not one of the plan's")
    return rows, warnings, faults


def _read(plan: Path) -> tuple[dict[str, str], dict[str, str], dict[str, dict[str, Any]], int, str]:
    """Models, tasks and results of fine-tunings by name, the seed, the protocol."""
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
    probed, tasks = _named(plan, values, "models"), _named(plan, values, "tasks")
    tuned = _named(plan, values, "finetuned") if "finetuned" in values else {}
    return probed, tasks, {name: _finetuned(folder) for name, folder in tuned.items()}, seed, protocol


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


def _finetuned(path: str) -> dict[str, Any]:
    """The `results.json` of a finished fine-tuning."""
    result = _stored(Path(path) / "results.json", {})
    if result is None or not {"protocol", "generation", "task", "task_fingerprint"} <= result.keys():
        raise UsageError(f"{path}: not the --out folder of a finished atst finetune.")
    return result


def _stored(path: Path, wanted: dict[str, Any]) -> dict[str, Any] | None:
    try:
        result = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return result if wanted.items() <= {key: result.get(key) for key in wanted}.items() else None


def _plain(name: str) -> str:
    """A name as a folder's: what could mean a path is replaced."""
    return "".join(c if c.isalnum() or c in " ._-" else "-" for c in name).strip(" .") or "unnamed"
