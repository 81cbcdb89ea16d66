"""What a user names as sound, `SRC...` of every command, becomes a list of recordings."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from atst.errors import CorpusError, UsageError
from atst.output.progress import SEARCH_SECONDS, track
from atst.output.skipped import Skipped
from atst.sound.manifest import PARSERS, read_manifest
from atst.sound.packed import Stored, open_packed
from atst.sound.recording import Recording
from atst.sound.remote import STANDARD_INPUT, Remote, is_audio_address, standard_input
from atst.sound.walk import irregular, walk


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
    its order; with `start` and `end` (seconds) a row is a stretch of its file. Listed files need not exist.
    With `columns` recordings keep the further columns of their manifest, joined
    by `;` where rows of one stretch differ. Where the caller can read them (`remote`), audio files may be
    addresses, also in manifests, and `-` is standard input. Raises `UsageError` for a source that does not
    exist or a malformed manifest, `CorpusError` for a source without audio.
    """
    if isinstance(sources, str | os.PathLike):
        sources = [sources]
    found: dict[tuple[str, float, float | None], Recording] = {}
    skipped: list[Skipped] = []
    for source in sources:
        for recording in _recordings(os.fspath(source), columns, remote, skipped):
            if not remote and isinstance(recording.stored, Remote):
                raise UsageError(f"{recording.name}: this command reads audio files on this machine only.")
            first = found.setdefault(recording.key(), recording)
            for name, value in (recording.row or {}).items():
                if first.row is not None and value not in first.row.get(name, value).split(";"):
                    first.row[name] += f";{value}"
    return Found(list(found.values()), skipped)


def _recordings(source: str, columns: bool, remote: bool, skipped: list[Skipped]) -> list[Recording]:
    """What one source names; what of it is left out is added to `skipped`."""
    if remote and source in (STANDARD_INPUT, "/dev/stdin"):
        return [Recording(standard_input(), named=STANDARD_INPUT)]
    if is_audio_address(source):
        return [Recording.at(source)]
    if (corpus := open_packed(source)) is not None:
        rows = enumerate(zip(corpus.paths.to_pylist(), corpus.start.tolist(), strict=True))
        return [Recording(Path(path), start, stored=Stored(corpus, row)) for row, (path, start) in rows]
    return _local(Path(source), columns, skipped)


def _local(path: Path, columns: bool, skipped: list[Skipped]) -> list[Recording]:
    unreadable: list[Skipped] = []
    if path.is_dir():
        files = track(walk(path, unreadable), "searching", after=SEARCH_SECONDS)
        listed, what = [Recording(Path(file)) for file in files], "no audio files in this folder"
    elif (reason := irregular(path)) or not path.is_file():
        raise UsageError(f"{path}: {reason or 'no such file or folder'}")
    elif path.suffix.lower() in PARSERS:
        what = "this manifest lists no files"
        named = [(recording, irregular(recording.path)) for recording in read_manifest(path, columns)]
        listed = [recording for recording, reason in named if not reason]
        unreadable += [(str(recording.path), reason) for recording, reason in named if reason]
    else:
        return [Recording(path)]
    if not listed:
        why = f" ({unreadable[0][0]}: {unreadable[0][1]})" if unreadable else ""
        raise CorpusError(f"{path}: {what}{why}")
    skipped += unreadable
    return listed
