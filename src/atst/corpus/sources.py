"""What a user names as sound, `SRC...` of every command, becomes a list of files."""

import csv
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from atst.errors import CorpusError, UsageError

MANIFESTS = (".csv", ".jsonl", ".txt")
AUDIO = frozenset(
    ".wav .flac .ogg .oga .opus .mp3 .m4a .m4b .aac .webm .mp4 .mkv .mka .mov .aif .aiff .aifc .au .caf"
    " .w64 .rf64 .wma .amr .ac3 .wv .ape .tta .3gp".split()
)


def find_audio(sources: Iterable[str | os.PathLike[str]]) -> list[Path]:
    """The audio files of a mix of files, folders and manifests, each once, in the order given.

    A folder is searched with its subfolders for names that end like audio; its files are sorted by path. A
    manifest (`.csv` or `.jsonl` with a `path` column or key, `.txt` with a path a line) lists paths relative
    to itself and keeps its order; whether they exist is left to whoever opens them. Raises `UsageError` for a
    source that does not exist or a manifest that is none, `CorpusError` for a folder or manifest without audio.
    """
    if isinstance(sources, str | os.PathLike):
        sources = [sources]
    found: dict[str, str] = {}  # absolute path: path as named
    for source in [os.fspath(source) for source in sources]:
        if os.path.isdir(source):
            paths, kind = sorted(_walk(source)), "no audio files in this folder"
        elif not os.path.isfile(source):
            raise UsageError(f"{source}: no such file or folder")
        elif source.lower().endswith(MANIFESTS):
            paths, kind = list(_manifest(source)), "this manifest lists no files"
        else:
            paths, kind = [source], ""
        if not paths:
            raise CorpusError(f"{source}: {kind}")
        for path in paths:
            found.setdefault(os.path.abspath(path), path)
    return [Path(path) for path in found.values()]


def _walk(folder: str) -> Iterator[str]:
    for root, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            if os.path.splitext(name)[1].lower() in AUDIO and not name.startswith("."):
                yield os.path.join(root, name)


def _manifest(manifest: str) -> Iterator[str]:
    folder = os.path.dirname(manifest)
    read = {".csv": _csv, ".jsonl": _jsonl, ".txt": _txt}[os.path.splitext(manifest)[1].lower()]
    try:
        with open(manifest, encoding="utf-8-sig", newline="") as file:
            for path in read(manifest, file):
                yield os.path.join(folder, path)
    except (UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{manifest}: not a readable manifest ({error})") from error
    except OSError as error:
        raise UsageError(f"{manifest}: {error.strerror}") from error


def _csv(manifest: str, file: Iterable[str]) -> Iterator[str]:
    rows = csv.DictReader(file)
    if "path" not in (rows.fieldnames or []):
        raise UsageError(f"{manifest}: no column 'path'; it has: {', '.join(rows.fieldnames or [])}")
    for row in rows:
        if row["path"]:
            yield row["path"]


def _jsonl(manifest: str, file: Iterable[str]) -> Iterator[str]:
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


def _txt(manifest: str, file: Iterable[str]) -> Iterator[str]:
    return (line.strip() for line in file if line.strip())
