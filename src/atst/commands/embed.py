"""`atst embed`: recordings become rows of a Parquet or npz file."""

import json
import math
import os
import shutil
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from tempfile import TemporaryFile
from typing import Annotated, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from cyclopts import Parameter
from numpy.typing import NDArray

from atst import __version__, audio
from atst.atomic import new_file
from atst.corpus.sources import find_audio
from atst.errors import AtstError, AudioError, CorpusError, UsageError
from atst.model import WINDOW_SECONDS, AudioModel, load
from atst.progress import track

Floats = NDArray[np.float64]
Writer = Callable[[Path, pa.Schema, str], AbstractContextManager[Callable[[pa.Table], None]]]

PATCH_SECONDS = 0.04
SHORTEST_TAIL = 0.01  # s: less than this behind the last whole window is a rounded header, not sound
GROUP_ROWS = 1024  # rows held in memory and written as one Parquet row group


def embed(
    sources: Sequence[str | Path],
    /,
    *,
    model: str | Path,
    out: Path | str,
    frames: Annotated[bool, Parameter(negative="")] = False,
    layers: int = 1,
    pooling: Literal["mean", "published"] = "mean",
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto",
    batch_size: int = 32,
) -> None:
    """Turn recordings into embeddings: one row a recording, in a Parquet or npz file.

    For example:

        atst embed sounds/ --model runs/mine --out sounds.parquet

    A recording of more than 60 s gives one row for each 60 s. The columns are `path`, `start`, `end`
    (seconds) and `embedding`: the CLS token, then the mean token, of each of the last `layers` blocks,
    CLS tokens first. A recording that cannot be read is left out and listed at the end; the exit code is
    then 1, and the file complete for the rest. An existing file is replaced when all is done.

    Args:
        sources: Audio files, folders to search for audio, and manifests (.csv, .jsonl, .txt).
        model: A model folder, run folder or .ckpt file, `random:SIZE`, `logmel` or `opensmile`.
        out: The file to write: FILE.parquet or FILE.npz.
        frames: One row for each patch of 40 ms instead.
        layers: How many blocks, counted from the last, an embedding is made of.
        pooling: How the chunks of a long clip are averaged: each by its own length, or as the paper's
            published code does.
        device: Where to compute.
        batch_size: Recordings embedded at a time.

    Raises:
        UsageError: an argument that cannot be meant.
        CorpusError: no audio in the sources.
        AudioError: recordings were left out; the message lists them.
    """
    out = Path(out)
    if out.suffix not in WRITERS:
        raise UsageError(f"--out {out}: the name must end in {' or '.join(WRITERS)}.")
    if out.is_dir():
        raise UsageError(f"--out {out} is a folder, not a file.")
    if batch_size < 1:
        raise UsageError(f"--batch-size must be 1 or more, not {batch_size}.")
    files = find_audio(sources)
    if not files:
        raise CorpusError(f"no audio found in {', '.join(map(str, sources))}.")
    encoder = load(model, device)
    if frames and not hasattr(encoder, "embed_frames"):
        raise UsageError(f"--frames: {encoder.name} has no frames, only one vector for a clip.")
    if isinstance(encoder, AudioModel):
        encoder.check_layers(layers)  # now, not after the first recordings
    about = {"atst": __version__, "model": encoder.name, "fingerprint": encoder.fingerprint, "frames": frames}
    about |= {"layers": layers, "pooling": None if frames else pooling}
    skipped: list[str] = []
    windows = _windows(track(files, "embedding"), skipped)
    if frames:
        tables = _frame_tables(windows, encoder, layers)
    else:
        tables = _clip_tables(windows, encoder, batch_size, {"layers": layers, "pooling": pooling})
    try:
        with new_file(out) as temporary:
            temporary.touch()  # a folder without permission is an error now, not after hours
            if not _write(temporary, WRITERS[out.suffix], tables, about):
                raise AudioError(_listed(f"none of {len(files)} recordings could be read:", skipped))
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise AtstError(f"--out {out}: cannot be written: {reason}.") from error
    if skipped:
        counts = f"{len(skipped)} of {len(files)} recordings could not be read"
        raise AudioError(_listed(f"{counts}; {out} holds the rest:", skipped))


@dataclass
class Window:
    """A stretch of a recording, at most 60 s."""

    path: Path
    start: float  # s
    waveform: NDArray[np.float32]  # (N,) at 16 kHz

    @property
    def end(self) -> float:
        """Seconds from the recording's start."""
        return self.start + len(self.waveform) / audio.SAMPLE_RATE


def _windows(files: Iterable[Path], skipped: list[str]) -> Iterator[Window]:
    """All recordings in order; what cannot be read goes to `skipped`, with the reason."""
    for path in files:
        start = 0.0
        try:
            seconds = audio.info(path).seconds
            if seconds <= WINDOW_SECONDS:
                yield Window(path, 0.0, audio.read(path))
                continue
            for number in range(math.ceil((seconds - SHORTEST_TAIL) / WINDOW_SECONDS)):
                start = number * WINDOW_SECONDS
                yield Window(path, start, audio.read(path, start, WINDOW_SECONDS))
        except AudioError as error:
            skipped.append(f"{error} (what comes before {start:g} s is there)" if start else str(error))


def _clip_tables(
    windows: Iterable[Window], model: Any, batch_size: int, options: dict[str, Any]
) -> Iterator[pa.Table]:
    """One row a window."""
    for batch in _batches(windows, batch_size):
        waveforms = [window.waveform for window in batch]
        vectors = model.embed(waveforms, sample_rate=audio.SAMPLE_RATE, batch_size=batch_size, **options)
        starts = np.array([window.start for window in batch])
        ends = np.array([window.end for window in batch])
        yield _table([window.path for window in batch], starts, ends, vectors)


def _frame_tables(windows: Iterable[Window], model: Any, layers: int) -> Iterator[pa.Table]:
    """One row a patch; `start` and `end` lie 20 ms before and after its centre."""
    for window in windows:
        centres, tokens = model.embed_frames(window.waveform, sample_rate=audio.SAMPLE_RATE, layers=layers)
        starts = np.maximum(centres - PATCH_SECONDS / 2, 0.0) + window.start  # (P,)
        yield _table([window.path] * len(centres), starts, centres + PATCH_SECONDS / 2 + window.start, tokens)


def _batches(windows: Iterable[Window], size: int) -> Iterator[list[Window]]:
    windows = iter(windows)
    while batch := list(islice(windows, size)):
        yield batch


def _table(paths: Sequence[Path], starts: Floats, ends: Floats, vectors: NDArray[np.float32]) -> pa.Table:
    """Rows of the output; vectors are (R, D)."""
    names = [os.fsencode(path).decode("utf-8", errors="replace") for path in paths]  # a name may be no UTF-8
    embedding = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel(), pa.float32()), vectors.shape[1])
    return pa.table({"path": names, "start": starts, "end": ends, "embedding": embedding})


def _listed(headline: str, lines: Sequence[str]) -> str:
    return "\n  ".join([headline, *lines])


def _write(path: Path, writer: Writer, tables: Iterable[pa.Table], about: dict[str, Any]) -> bool:
    """Write all rows, GROUP_ROWS or some more at a time; False, and nothing written, if there are none."""
    groups = _groups(tables)
    first = next(groups, None)
    if first is None:
        return False
    with writer(path, first.schema, json.dumps(about)) as write:
        for group in chain([first], groups):
            write(group)
    return True


def _groups(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    parts: list[pa.Table] = []
    for table in tables:
        parts.append(table)
        if sum(map(len, parts)) >= GROUP_ROWS:
            yield pa.concat_tables(parts)
            parts = []
    if parts:
        yield pa.concat_tables(parts)


@contextmanager
def _parquet(path: Path, schema: pa.Schema, about: str) -> Iterator[Callable[[pa.Table], None]]:
    """Writes row groups; `about` stands under the key `atst` of the file's metadata."""
    with pq.ParquetWriter(
        path, schema.with_metadata({"atst": about}), compression="zstd", use_dictionary=["path"]
    ) as file:
        yield lambda table: file.write_table(table, row_group_size=len(table))


@contextmanager
def _npz(path: Path, schema: pa.Schema, about: str) -> Iterator[Callable[[pa.Table], None]]:
    """Writes the same columns as arrays, and `about` as the text `metadata`.

    An array's header holds its length, known only at the end: until then the numbers wait in unnamed
    temporary files beside `path`, so that memory stays bounded.
    """
    paths: list[str] = []
    with ExitStack() as stack:
        spools = {name: stack.enter_context(TemporaryFile(dir=path.parent)) for name in NUMBERS}

        def write(table: pa.Table) -> None:
            paths.extend(table["path"].to_pylist())
            for name, spool in spools.items():
                for chunk in table[name].chunks:
                    values = chunk.flatten() if name == "embedding" else chunk
                    spool.write(values.to_numpy().astype(NUMBERS[name]).tobytes())

        yield write
        archive = stack.enter_context(zipfile.ZipFile(path, "w"))
        for name, array in (("metadata", np.array(about)), ("path", np.array(paths))):
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, array)
        for name, spool in spools.items():
            width = (schema.field(name).type.list_size,) if name == "embedding" else ()
            header = {"descr": NUMBERS[name], "fortran_order": False, "shape": (len(paths), *width)}
            spool.seek(0)
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array_header_1_0(file, header)
                shutil.copyfileobj(spool, file)


NUMBERS = {"start": "<f8", "end": "<f8", "embedding": "<f4"}  # column: NumPy type
WRITERS: dict[str, Writer] = {".parquet": _parquet, ".npz": _npz}
