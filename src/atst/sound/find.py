"""What a user names as sound, `SRC...` of every command, becomes a list of files."""

import csv
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from atst.errors import CorpusError, UsageError

MANIFESTS = (".csv", ".jsonl", ".txt")
# What a folder is searched for; a file that is named is always tried.
AUDIO = (
    *(
        ".wav",
        ".flac",
        ".ogg",
        ".oga",
        ".opus",
        ".mp3",
        ".m4a",
        ".m4b",
        ".aac",
        ".webm",
        ".mp4",
        ".mkv",
        ".mka",
    ),
    *(
        ".mov",
        ".aif",
        ".aiff",
        ".aifc",
        ".au",
        ".caf",
        ".w64",
        ".rf64",
        ".wma",
        ".amr",
        ".ac3",
        ".wv",
        ".ape",
    ),
    *(".tta", ".3gp"),
)


def find_audio(sources: Iterable[str | os.PathLike[str]]) -> list[Path]:
    """The audio files of a mix of files, folders and manifests, each once, in the order given.

    A folder is searched with its subfolders for names that end like audio; its files are sorted by path. A
    manifest (`.csv` or `.jsonl` with a `path` column or key, `.txt` with a path a line) lists paths relative
    to itself and keeps its order; whether they exist is left to whoever opens them. Raises `UsageError` for a
    source that does not exist or a manifest that is none, `CorpusError` for one without audio.
    """
    if isinstance(sources, str | os.PathLike):
        sources = [sources]
    found: dict[str, Path] = {}  # by real path, so that no file counts twice
    for source in sources:
        path = Path(source)
        if path.is_dir():
            paths, nothing = _search(path), "no audio files in this folder"
        elif not path.is_file():
            raise UsageError(f"{source}: no such file or folder")
        elif path.suffix.lower() in MANIFESTS:
            paths, nothing = _manifest(path), "this manifest lists no files"
        else:
            paths, nothing = [path], ""
        if not paths:
            raise CorpusError(f"{source}: {nothing}")
        for path in paths:
            found.setdefault(os.path.realpath(path), path)
    return list(found.values())


def _search(folder: Path) -> list[Path]:
    found = []
    for root, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        paths = [Path(root, name) for name in names if not name.startswith(".")]
        found += [path for path in paths if path.suffix.lower() in AUDIO]
    return sorted(found)


def _manifest(manifest: Path) -> list[Path]:
    parse = {".csv": _csv, ".jsonl": _jsonl, ".txt": _txt}[manifest.suffix.lower()]
    try:
        with manifest.open(encoding="utf-8-sig", newline="") as file:
            return [manifest.parent / path for path in parse(manifest, file)]
    except (UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{manifest}: not a readable manifest ({error})") from error
    except OSError as error:
        raise UsageError(f"{manifest}: {error.strerror}") from error


def _csv(manifest: Path, file: Iterable[str]) -> Iterator[str]:
    rows = csv.DictReader(file)
    if "path" not in (rows.fieldnames or []):
        raise UsageError(f"{manifest}: no column 'path'; it has: {', '.join(rows.fieldnames or [])}")
    for row in rows:
        if row["path"]:
            yield row["path"]


def _jsonl(manifest: Path, file: Iterable[str]) -> Iterator[str]:
    for number, line in enumerate(file, 1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
        except ValueError as error:
            raise UsageError(f"{manifest}: line {number} is not JSON") from error
        path = entry.get("path") if isinstance(entry, dict) else entry
        if not isinstance(path, str) or not path:
            raise UsageError(f"{manifest}: line {number} has no 'path'")
        yield path


def _txt(manifest: Path, file: Iterable[str]) -> Iterator[str]:
    return (line.strip() for line in file if line.strip())
