"""What a user names as sound, `SRC...` of every command, becomes a list of recordings."""

import csv
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from atst.errors import CorpusError, UsageError
from atst.output.progress import SEARCH_SECONDS, track
from atst.output.skipped import Skipped
from atst.sound.names import existing, is_possible
from atst.sound.packed import Stored, open_packed
from atst.sound.remote import STANDARD_INPUT, Remote, is_audio_address, standard_input
from atst.sound.walk import irregular, walk

MANIFESTS = (".csv", ".jsonl", ".txt")
OWN = ("path", "start", "end")  # columns that are not further ones


@dataclass(frozen=True)
class Recording:
    """A file to read, or a stretch of it."""

    path: Path
    start: float = 0.0  # s
    end: float | None = None  # s; None: the file's end
    where: str = ""  # the manifest and its line that ask for the stretch
    stored: Stored | Remote | None = None  # in a packed corpus, or at an address; `path` is then its name
    row: dict[str, str] | None = None  # the further columns of the manifest, for who packs them
    named: str = ""  # what it is called where that is not `path`: by an address, or - for standard input

    @property
    def name(self) -> str:
        """The recording's name in outputs and messages."""
        return self.named or str(self.path)

    def state(self) -> tuple[str, float, float | None, int, int]:
        """Differs between stretches, and where the file has changed as far as size and time (ns) tell."""
        name, size, changed = self.name, -1, 0
        if self.stored is not None:
            name, size, changed = self.stored.state()
        else:
            with suppress(OSError, ValueError):
                found = self.path.stat()
                size, changed = found.st_size, found.st_mtime_ns
        return name, self.start, self.end, size, changed


@dataclass
class Found:
    """What sources hold: what can be tried, and what is left out already."""

    recordings: list[Recording]
    skipped: list[Skipped]

    def __len__(self) -> int:
        return len(self.recordings) + len(self.skipped)


def find_audio(
    sources: Iterable[str | os.PathLike[str]], columns: bool = False, *, remote: bool = False
) -> Found:
    """The recordings of a mix of files, folders, manifests and packed corpora, each once, in the order given.

    A folder is searched with its subfolders (see `walk`); its files are sorted by path. A manifest (`.csv` or
    `.jsonl` with a column or key `path`, `.txt` with a path a line) lists paths relative to itself and keeps
    its order; with `start` and `end` (seconds) a row is a stretch of its file. Whether listed files exist is
    left to whoever opens them. With `columns` recordings keep the further columns of their manifest, joined
    by `;` where rows of one stretch differ. Where the caller can read them (`remote`), audio files may be
    addresses, also in manifests, and `-` is standard input. Raises `UsageError` for a source that does not
    exist or a manifest that is none, `CorpusError` for one without audio.
    """
    if isinstance(sources, str | os.PathLike):
        sources = [sources]
    found: dict[tuple[str, float, float | None], Recording] = {}  # by real path: none counts twice
    skipped: list[Skipped] = []
    for source in sources:
        if not is_audio_address(os.fspath(source)) and (corpus := open_packed(source)) is not None:
            rows = zip(corpus.start.tolist(), corpus.paths.to_pylist(), strict=True)
            for number, (start, path) in enumerate(rows):
                packed = Recording(Path(path), start, stored=Stored(corpus, number))
                found.setdefault((f"{corpus.index}/{path}", start, None), packed)
            continue
        listed, unreadable = _elsewhere(os.fspath(source), remote), list[Skipped]()
        if not listed:
            listed, unreadable = _source(Path(source), columns)
        if not listed:
            what = (
                "no audio files in this folder" if Path(source).is_dir() else "this manifest lists no files"
            )
            why = f" ({unreadable[0][0]}: {unreadable[0][1]})" if unreadable else ""
            raise CorpusError(f"{source}: {what}{why}")
        skipped += unreadable
        for recording in listed:
            if not remote and isinstance(recording.stored, Remote):
                raise UsageError(f"{recording.name}: this command reads audio files on this machine only.")
            real = recording.name if recording.named else os.path.realpath(recording.path)
            key = real, recording.start, recording.end
            first = found.setdefault(key, recording)
            for name, value in (recording.row or {}).items():
                if first.row is not None and value not in first.row.get(name, value).split(";"):
                    first.row[name] += f";{value}"
    return Found(list(found.values()), skipped)


def _elsewhere(source: str, remote: bool) -> list[Recording]:
    """A recording that is no file on this machine; none for other sources."""
    if remote and source in (STANDARD_INPUT, "/dev/stdin"):
        return [Recording(standard_input(), named=STANDARD_INPUT)]
    return [_at(source)] if is_audio_address(source) else []


def _source(path: Path, columns: bool) -> tuple[list[Recording], list[Skipped]]:
    skipped: list[Skipped] = []
    if path.is_dir():
        files = track(walk(path, skipped), "searching", after=SEARCH_SECONDS)
        return [Recording(Path(file)) for file in files], skipped
    if reason := irregular(path):
        raise UsageError(f"{path}: {reason}")
    if not path.is_file():
        raise UsageError(f"{path}: no such file or folder")
    if path.suffix.lower() in MANIFESTS:
        listed = _manifest(path, columns)
        kept = [recording for recording in listed if not irregular(recording.path)]
        skipped += [(str(r.path), str(irregular(r.path))) for r in listed if irregular(r.path)]
        return kept, skipped
    return [Recording(path)], skipped


def _manifest(manifest: Path, columns: bool) -> list[Recording]:
    parse = {".csv": _csv, ".jsonl": _jsonl, ".txt": _txt}[manifest.suffix.lower()]
    try:
        with manifest.open(encoding="utf-8-sig", newline="") as file:
            return [_recording(manifest, number, row, columns) for number, row in parse(manifest, file)]
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
        return replace(_at(row["path"]), row=further, **stretch)
    return Recording(manifest.parent / existing(manifest.parent, row["path"]), row=further, **stretch)


def _at(address: str) -> Recording:
    return Recording(Path(address), stored=Remote(address), named=address)


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
