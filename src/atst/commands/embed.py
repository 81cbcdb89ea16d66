"""`atst embed`: recordings become rows of a Parquet or npz file."""

import shutil
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import Annotated, Any, Literal

import numpy as np
import pyarrow as pa
from cyclopts import Parameter
from numpy.typing import NDArray

from atst import __version__
from atst.errors import AudioError, CorpusError, UsageError
from atst.model.audio_model import AudioModel
from atst.model.load import load
from atst.output.progress import track
from atst.output.table import Writer, check_out, parquet, path_text, write_table
from atst.sound import audio
from atst.sound.find import find_audio
from atst.sound.windows import Fault, Window, batches, listed, minutes, read_all

Floats = NDArray[np.float64]

PATCH_SECONDS = 0.04


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
    check_out(out, WRITERS)
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
    faults: dict[Path, Fault] = {}
    windows = read_all(track(files, "embedding"), minutes, faults)
    if frames:
        tables = _frame_tables(windows, encoder, layers)
    else:
        tables = _clip_tables(windows, encoder, batch_size, {"layers": layers, "pooling": pooling})

    def empty() -> AudioError:
        return AudioError(listed(f"none of {len(files)} recordings could be read:", faults))

    write_table(out, WRITERS, tables, about, empty)
    if faults:
        counts = f"{len(faults)} of {len(files)} recordings could not be read"
        raise AudioError(listed(f"{counts}; {out} holds the rest:", faults))


def _clip_tables(
    windows: Iterable[Window], model: Any, batch_size: int, options: dict[str, Any]
) -> Iterator[pa.Table]:
    """One row a window."""
    for batch in batches(windows, batch_size):
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


def _table(paths: Sequence[Path], starts: Floats, ends: Floats, vectors: NDArray[np.float32]) -> pa.Table:
    """Rows of the output; vectors are (R, D)."""
    names = [path_text(path) for path in paths]
    embedding = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel(), pa.float32()), vectors.shape[1])
    return pa.table({"path": names, "start": starts, "end": ends, "embedding": embedding})


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
WRITERS: dict[str, Writer] = {".parquet": parquet, ".npz": _npz}
