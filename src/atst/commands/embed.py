"""`atst embed`: recordings become rows of a Parquet or npz file."""

import shutil
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from atst import __version__
from atst.commands._options import Flag, Quiet
from atst.errors import AudioError, UsageError
from atst.model.embedder import Embedder, FrameEmbedder, has_frames
from atst.output import progress
from atst.output.progress import watch
from atst.output.skipped import finish, nothing_read
from atst.output.table import Writer, check_out, parquet, write_table
from atst.output.text import path_text
from atst.sound import audio
from atst.sound.amount import Amount
from atst.sound.channel import channel_number
from atst.sound.find import find_audio
from atst.sound.levels import say_high
from atst.sound.pool import Pool
from atst.sound.windows import Reading, Window, batches, minutes, read_all, unreadable, whole

Floats = NDArray[np.float64]

IN_MEMORY = 900.0  # s of a recording whose patches wait in memory until it has ended
TABLE_ROWS = 256


def embed(
    sources: Sequence[str | Path],
    /,
    *,
    model: str | Path,
    out: Path | str | None = None,
    attention: Path | str | None = None,
    frames: Flag = False,
    layers: int | None = None,
    pooling: Literal["mean", "published", "statistics", "whitened"] | None = None,
    levels: Literal["blocks", "stem", "stem-last", "all"] | None = None,
    channel: int | str = "mean",
    partial: Flag = False,
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto",
    batch_size: int = 32,
    quiet: Quiet = False,
) -> None:
    """Turn recordings into embeddings: one row a recording, in a Parquet or npz file.

    For example:

        atst embed sounds/ --model runs/mine --out sounds.parquet

    A recording of more than 60 s gives one row for each window of 60 s. The columns are `path`, `start`,
    `end` (seconds), `partial` and `embedding`: of an encoder of patches the CLS token, then the mean token,
    of each of the last `layers` blocks, CLS tokens first; of a convolutional one, statistics over time of all
    levels. A recording that cannot be read to its end is left out and listed in
    OUT.errors.csv; the exit code is then 1, and the file is complete for the rest. An existing file is
    replaced at the end.

    Args:
        sources: Audio files, folders to search for audio, packed corpora or their addresses, and manifests
            (.csv, .jsonl, .txt), which may have columns `start` and `end` (seconds).
        model: A model folder, run folder or .ckpt file, `random:SIZE`, a baseline (`logmel`, `functionals`,
            `descriptors`, `functionals+descriptors`, `opensmile`), or USER/NAME on the Hugging Face hub.
        out: The file to write: FILE.parquet or FILE.npz. It may be left out with `--attention`.
        attention: A page to write, FILE.html: the spectrogram of each recording (its first minute; of 50
            recordings at most), and what in it the heads of the last block attend to.
        frames: Write one row for each patch of 40 ms instead.
        layers: Number of blocks, counted from the last, whose tokens make up an embedding. By default the
            model's own: the last, or all of a convolutional encoder.
        pooling: How tokens become an embedding. CLS and mean tokens, averaged over the chunks of a long clip,
            each over its own patches (`mean`) or as the paper's code does (`published`); mean, standard
            deviation and maximum over time (`statistics`), or these after partial whitening (`whitened`). By
            default the model's own.
        levels: What is read: `blocks`, `stem`, the last level of the stem (`stem-last`), or `all`.
        channel: `mean` of all channels, or the number of one, from 0.
        partial: Embed recordings that were cut short as far as they go; the column `partial` marks them.
        device: Where to compute.
        batch_size: Recordings embedded at a time.
        quiet: Show no progress.

    Raises:
        UsageError: an argument is invalid.
        CorpusError: the sources hold no audio.
        AudioError: recordings were left out; the message lists them.
    """
    if out is None and attention is None:
        raise UsageError("nothing to write: give --out FILE.parquet or FILE.npz, or --attention FILE.html.")
    if out is not None:
        out = Path(out)
        check_out(out, WRITERS)
    if batch_size < 1:
        raise UsageError(f"--batch-size must be 1 or more, not {batch_size}.")
    how = {"channel": channel_number(channel), "partial": partial}
    with progress.quiet(quiet), ExitStack() as stack:
        found = find_audio(sources)
        pool = stack.enter_context(Pool(len(found.recordings)))  # it starts while the model loads
        encoder = _load(model, device)
        if attention is not None:
            from atst.model.attention_report import write_attention  # needs PyTorch

            write_attention(attention, encoder, found.recordings, **how)
        if out is None:
            return
        if frames and not has_frames(encoder):
            raise UsageError(f"--frames: {encoder.name} has no frame embeddings, only one vector a clip.")
        readout: dict[str, Any] = {}
        if has_frames(encoder):  # asked now, not after the first recordings
            readout = encoder.options(layers, pooling, levels, frames)
        about: dict[str, Any] = {
            "atst": __version__,
            "model": encoder.name,
            "fingerprint": encoder.fingerprint,
        }
        about |= {"frames": frames, **readout} | ({"pooling": None} if frames else {})
        readings: list[Reading] = []
        windows = read_all(pool, found.recordings, minutes, readings, **how)
        windows = watch(windows, "embedding", Amount(found.recordings, readings))
        if frames and has_frames(encoder):
            rows = _frame_rows(windows, encoder, readout, out.parent)
        else:
            rows = _clip_rows(windows, encoder, batch_size, readout)

        def empty() -> AudioError:
            return nothing_read(len(found), found.skipped + unreadable(readings))

        write_table(out, WRITERS, _tables(whole(rows)), about, empty)
    say_high([reading.high for reading in readings if reading.error is None])
    finish(len(found), found.skipped + unreadable(readings), out)


def _load(model: str | Path, device: str) -> Embedder:
    """A model, without an import of PyTorch for one that does not need it."""
    from atst.model.load import load

    return load(model, device)


@dataclass
class _Rows:
    """Rows of one window."""

    reading: Reading
    starts: Floats  # (R,)
    ends: Floats
    vectors: NDArray[np.float32]  # (R, D)


def _clip_rows(
    windows: Iterable[Window], model: Embedder, batch_size: int, options: dict[str, Any]
) -> Iterator[_Rows]:
    """One row a window."""
    for batch in batches(windows, batch_size):
        waveforms = [window.waveform for window in batch]
        vectors = model.embed(waveforms, sample_rate=audio.SAMPLE_RATE, batch_size=batch_size, **options)
        for window, vector in zip(batch, vectors, strict=True):
            yield _Rows(window.reading, np.array([window.start]), np.array([window.end]), vector[None])


def _frame_rows(
    windows: Iterable[Window], model: FrameEmbedder, readout: dict[str, Any], folder: Path
) -> Iterator[_Rows]:
    """One row a patch; `start` and `end` lie 20 ms before and after its centre.

    Those of a long recording wait for its end in temporary files in `folder`.
    """
    half = model.token_seconds / 2
    for window in windows:
        levels = {"layers": readout["layers"], "levels": readout["levels"]}
        centres, tokens = model.embed_frames(window.waveform, sample_rate=audio.SAMPLE_RATE, **levels)
        starts = np.maximum(centres - half, 0.0) + window.start  # (P,)
        if window.start - window.reading.recording.start >= IN_MEMORY:
            tokens = _on_disk(tokens, folder)
        yield _Rows(window.reading, starts, centres + half + window.start, tokens)


def _on_disk(vectors: NDArray[np.float32], folder: Path) -> NDArray[np.float32]:
    """The same array in an unnamed temporary file, which is deleted with it."""
    with TemporaryFile(dir=folder) as file:
        file.write(vectors.tobytes())
        file.flush()
        return np.memmap(file, np.float32, "r", shape=vectors.shape)


def _tables(parts: Iterable[_Rows]) -> Iterator[pa.Table]:
    """The rows of the output, some hundred at a time."""
    held: list[_Rows] = []
    for rows in parts:
        held.append(rows)
        if sum(len(part.starts) for part in held) >= TABLE_ROWS:
            yield _table(held)
            held = []
    if held:
        yield _table(held)


def _table(parts: Sequence[_Rows]) -> pa.Table:
    starts, ends, vectors = (
        np.concatenate([getattr(rows, name) for rows in parts]) for name in ("starts", "ends", "vectors")
    )
    names = [path_text(rows.reading.recording.path) for rows in parts for _ in rows.starts]
    marks = [rows.reading.partial for rows in parts for _ in rows.starts]
    embedding = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel(), pa.float32()), vectors.shape[1])
    columns = {"path": names, "start": starts, "end": ends, "partial": marks, "embedding": embedding}
    return pa.table(columns)


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
                    spool.write(values.to_numpy(zero_copy_only=False).astype(NUMBERS[name]).tobytes())

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


NUMBERS = {"start": "<f8", "end": "<f8", "partial": "|b1", "embedding": "<f4"}  # column: NumPy type
WRITERS: dict[str, Writer] = {".parquet": parquet, ".npz": _npz}
