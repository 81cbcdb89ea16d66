"""What a user names as sound, `SRC...` of every command, becomes a list of recordings."""

import csv
import json
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from atst.errors import CorpusError, UsageError
from atst.output.progress import counted
from atst.output.skipped import Skipped
from atst.sound.names import existing
from atst.sound.packed import Stored, open_packed

MANIFESTS = (".csv", ".jsonl", ".txt")
OWN = ("path", "start", "end")  # columns that are not further ones
# What a folder is searched for; a file that is named is always tried.
ENDINGS = (
    "wav flac ogg oga opus mp3 mp2 m4a m4b aac webm mp4 mkv mka mov 3gp 3g2 aif aiff aifc au snd caf",
    "w64 rf64 wma amr ac3 wv ape tta gsm sph voc mpc tak shn dsf dff",
)
AUDIO = frozenset(f".{ending}" for line in ENDINGS for ending in line.split())
KINDS = {
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


@dataclass(frozen=True)
class Recording:
    """A file to read, or a stretch of it."""

    path: Path
    start: float = 0.0  # s
    end: float | None = None  # s; None: the file's end
    where: str = ""  # the manifest and its line that ask for the stretch
    stored: Stored | None = None  # where it is in a packed corpus; `path` is then only its name
    row: dict[str, str] | None = None  # the further columns of the manifest, for who packs them


@dataclass
class Found:
    """What sources hold: what can be tried, and what is left out already."""

    recordings: list[Recording]
    skipped: list[Skipped]

    def __len__(self) -> int:
        return len(self.recordings) + len(self.skipped)


def find_audio(sources: Iterable[str | os.PathLike[str]], columns: bool = False) -> Found:
    """The recordings of a mix of files, folders, manifests and packed corpora, each once, in the order given.

    A folder is searched with its subfolders (see `walk`); its files are sorted by path. A manifest (`.csv` or
    `.jsonl` with a column or key `path`, `.txt` with a path a line) lists paths relative to itself and keeps
    its order; with `start` and `end` (seconds) a row is a stretch of its file. Whether listed files exist is
    left to whoever opens them. With `columns` recordings keep the further columns of their manifest, joined
    by `;` where rows of one stretch differ. Raises `UsageError` for a source that does not exist or a
    manifest that is none, `CorpusError` for one without audio.
    """
    if isinstance(sources, str | os.PathLike):
        sources = [sources]
    found: dict[tuple[str, float, float | None], Recording] = {}  # by real path: none counts twice
    skipped: list[Skipped] = []
    for source in sources:
        if (corpus := open_packed(source)) is not None:
            rows = zip(corpus.start.tolist(), corpus.paths.to_pylist(), strict=True)
            for number, (start, path) in enumerate(rows):
                packed = Recording(Path(path), start, stored=Stored(corpus, number))
                found.setdefault((f"{corpus.index}/{path}", start, None), packed)
            continue
        listed, unreadable = _source(Path(source), columns)
        if not listed:
            what = (
                "no audio files in this folder" if Path(source).is_dir() else "this manifest lists no files"
            )
            why = f" ({unreadable[0][0]}: {unreadable[0][1]})" if unreadable else ""
            raise CorpusError(f"{source}: {what}{why}")
        skipped += unreadable
        for recording in listed:
            key = os.path.realpath(recording.path), recording.start, recording.end
            first = found.setdefault(key, recording)
            for name, value in (recording.row or {}).items():
                if first.row is not None and value not in first.row.get(name, value).split(";"):
                    first.row[name] += f";{value}"
    return Found(list(found.values()), skipped)


def has_audio_name(name: str) -> bool:
    """Whether a folder is searched for files of such a name."""
    dot = name.rfind(".")
    return dot > 0 and name[dot:].lower() in AUDIO


def has_other_name(name: str) -> bool:
    """Whether a file of such a name may be a table, not sound."""
    return not has_audio_name(name)


def walk(
    folder: Path,
    skipped: list[Skipped],
    seen: set[str] | None = None,
    wanted: Callable[[str], bool] = has_audio_name,
) -> Iterator[str]:
    """The files under a folder whose names are `wanted`; hidden files and folders are left out.

    Links are followed, each real folder counts once, so that loops end; `seen` holds those of walks before.
    Folders that cannot be read, and pipes and other irregular files, are added to `skipped`.
    """
    seen = set() if seen is None else seen
    folders = [os.fspath(folder)]
    while folders:
        here = folders.pop()
        if (real := os.path.realpath(here)) in seen:
            continue
        seen.add(real)
        try:
            with os.scandir(here) as entries:
                inside = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            skipped.append((here, f"folder cannot be read: {error.strerror}"))
            continue
        below = []
        for entry in inside:
            if entry.name.startswith("."):
                continue
            if _is_folder(entry):
                below.append(entry.path)
            elif wanted(entry.name):
                if entry.is_file():
                    yield entry.path.removeprefix("./")
                else:
                    skipped.append((entry.path, irregular(entry.path) or "no such file"))
        folders += reversed(below)


def irregular(path: str | os.PathLike[str]) -> str | None:
    """Why a path is not read where it is neither a regular file nor a folder; None otherwise."""
    try:
        kind = KINDS.get(stat.S_IFMT(Path(path).stat().st_mode))
    except (OSError, ValueError):
        return None  # whoever opens it says why it cannot be
    return kind and f"is {kind}, not a file"


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return True  # to be listed as a folder that cannot be read


def _source(path: Path, columns: bool) -> tuple[list[Recording], list[Skipped]]:
    skipped: list[Skipped] = []
    if path.is_dir():
        files = counted(walk(path, skipped), "found {} files")
        return [Recording(file) for file in sorted(map(Path, files))], skipped
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
        except ValueError as error:
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
    first, last = seconds_of(where, "start", row.get("start")), seconds_of(where, "end", row.get("end"))
    if last is not None and last <= (first or 0.0):
        raise UsageError(f"{where}: end {last:g} s is not after start {first or 0.0:g} s")
    path = manifest.parent / existing(manifest.parent, row["path"])
    whole = first is None and last is None
    further = (
        {name: _text(value) for name, value in row.items() if name and name not in OWN} if columns else None
    )
    return Recording(path, first or 0.0, last, "" if whole else where, row=further)


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
    except (TypeError, ValueError):
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise UsageError(f"{where}: {name} must be seconds, 0 or more, not '{value}'")
    return seconds
