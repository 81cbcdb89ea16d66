"""Manifests: tables that list recordings, or stretches of them, by paths relative to the table."""

import csv
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from atst.errors import UsageError
from atst.sound.names import existing, is_possible
from atst.sound.recording import Recording
from atst.sound.remote import is_audio_address

OWN = ("path", "start", "end")  # columns that are not further ones


def read_manifest(manifest: Path, columns: bool) -> list[Recording]:
    """What a manifest lists, with its further `columns` if they are wanted. Raises `UsageError`."""
    try:
        with manifest.open(encoding="utf-8-sig", newline="") as file:
            rows = PARSERS[manifest.suffix.lower()](manifest, file)
            return [_recording(manifest, number, row, columns) for number, row in rows]
    except (UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{manifest}: not a readable manifest ({error})") from error
    except OSError as error:
        raise UsageError(f"{manifest}: {error.strerror}") from error


Entry = tuple[int, dict[str, Any]]  # line, and what is in its columns


def _csv(manifest: Path, file: Iterable[str]) -> Iterator[Entry]:
    rows = csv.DictReader(file)
    if "path" not in (rows.fieldnames or []):
        raise UsageError(f"{manifest}: no column 'path'; it has: {', '.join(rows.fieldnames or ['none'])}")
    for row in rows:
        if row["path"]:
            yield rows.line_num, row


def _jsonl(manifest: Path, file: Iterable[str]) -> Iterator[Entry]:
    for number, line in enumerate(file, 1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise UsageError(f"{manifest}: line {number} is not JSON") from error
        entry = entry if isinstance(entry, dict) else {"path": entry}
        if not isinstance(entry.get("path"), str) or not entry["path"]:
            raise UsageError(f"{manifest}: line {number} has no 'path'")
        yield number, entry


def _txt(manifest: Path, file: Iterable[str]) -> Iterator[Entry]:
    for number, line in enumerate(file, 1):
        if line.strip():
            yield number, {"path": line.strip()}


PARSERS = {".csv": _csv, ".jsonl": _jsonl, ".txt": _txt}


def _recording(manifest: Path, number: int, row: dict[str, Any], columns: bool) -> Recording:
    where = f"{manifest}, line {number}"
    if not is_possible(row["path"]):
        raise UsageError(f"{where}: {row['path']!r} cannot be the name of a file")
    first, last = seconds_of(where, "start", row.get("start")), seconds_of(where, "end", row.get("end"))
    if last is not None and last <= (first or 0.0):
        raise UsageError(f"{where}: end {last:g} s is not after start {first or 0.0:g} s")
    whole = first is None and last is None
    further = (
        {name: _text(value) for name, value in row.items() if name and name not in OWN} if columns else None
    )
    stretch: dict[str, Any] = {"start": first or 0.0, "end": last, "where": "" if whole else where}
    if is_audio_address(row["path"]):
        return Recording.at(row["path"], row=further, **stretch)
    return Recording(manifest.parent / existing(manifest.parent, row["path"]), row=further, **stretch)


def _text(value: Any) -> str:
    """A cell, or a value of JSON, as a cell."""
    if isinstance(value, list):
        return ";".join(map(_text, value))
    return "" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def seconds_of(where: str, name: str, value: Any) -> float | None:
    """A time of 0 s or later from a table's cell, None if it is empty. Raises `UsageError`."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    try:
        seconds = float(value)
    except (TypeError, ValueError, OverflowError):
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise UsageError(f"{where}: {name} must be seconds, 0 or more, not '{value}'")
    return seconds
