"""`atst embed`: recordings become rows of a Parquet or npz file."""

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import Path
from typing import Any, Literal

from atst import __version__, onnx
from atst.commands._options import Flag, Quiet
from atst.cores import importing
from atst.errors import AudioError, UsageError
from atst.library import parts, ray_engine
from atst.library.embedding_file import FORMAT_VERSION
from atst.library.npz import npz
from atst.library.rows import Rows, clip_rows, frame_rows, tables
from atst.model.embedder import Embedder, has_frames
from atst.output import progress
from atst.output.progress import watch
from atst.output.skipped import finish, nothing_read
from atst.output.table import Writer, check_out, parquet, write_table
from atst.output.version import KEY
from atst.sound.amount import Amount
from atst.sound.find import Found, find_audio
from atst.sound.levels import say_high
from atst.sound.options import how_to_read
from atst.sound.pool import Pool
from atst.sound.recording import Recording
from atst.sound.remote import STANDARD_INPUT
from atst.sound.windows import Cutter, Reading, check_windows, cutter, read_all, unreadable, whole
from atst.training import memory

WRITERS: dict[str, Writer] = {".parquet": parquet, ".npz": npz}


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
    window: float | None = None,
    hop: float | None = None,
    channel: int | str = "mean",
    partial: Flag = False,
    max_duration: float | None = None,
    resume: Flag = False,
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto",
    devices: int | None = None,
    engine: Literal["local", "ray"] = "local",
    precision: Literal["float32", "bf16"] = "float32",
    batch_size: int = 32,
    quiet: Quiet = False,
) -> None:
    """Turn recordings into embeddings: one row per recording, in a Parquet or npz file.

    For example:

        atst embed sounds/ --model runs/mine --out sounds.parquet

    A recording of more than 60 s gives one row for each window of 60 s. The columns are `path`, `start`,
    `end` (seconds), `partial` and `embedding`: of an encoder of patches the CLS token, then the mean token,
    of each of the last `layers` blocks, CLS tokens first; of a convolutional one, statistics over time of all
    levels. A recording that cannot be read to its end is left out and listed in
    OUT.errors.csv; the exit code is then 1, and the file is complete for the rest. An existing file is
    replaced at the end.

    Args:
        sources: Audio files or their addresses (https://, s3://, ...), folders to search for audio, packed
            corpora or their addresses, manifests (.csv, .jsonl, .txt), which may have columns `start` and
            `end` (seconds), and `-` for a recording from standard input.
        model: A model folder, run folder or .ckpt file, `random:SIZE`, a baseline (`logmel`, `functionals`,
            `descriptors`, `functionals+descriptors`, `opensmile`), a file of `atst export` (.onnx), or
            USER/NAME on the Hugging Face hub.
        out: The file to write: FILE.parquet or FILE.npz. It may be left out with `--attention`.
        attention: A page to write, FILE.html: the spectrogram of each recording (its first minute; 50
            recordings at most), and what the attention heads of the last block look at.
        frames: Write one row for each patch of 40 ms instead.
        layers: Number of blocks, counted from the last, whose tokens make up an embedding. By default the
            model's own: the last, or all of a convolutional encoder.
        pooling: How tokens become an embedding. CLS and mean tokens, averaged over the chunks of a long clip,
            each over its own patches (`mean`) or as the paper's code does (`published`); mean, standard
            deviation and maximum over time (`statistics`), or these after partial whitening (`whitened`). By
            default the model's own.
        levels: What is read: `blocks`, `stem`, the last level of the stem (`stem-last`), or `all`.
        window: Write one row for each window of this many seconds, 60 at most.
        hop: Seconds from one window to the next. Default: the window's length, so that none overlap.
        channel: `mean` of all channels, or the index of one, from 0.
        partial: Embed recordings that were cut short as far as they go; the column `partial` marks them.
        max_duration: Skip, and list, recordings longer than this many seconds, or whose header says so.
        resume: Keep rows in the folder OUT.parts as they are done, and embed only recordings whose rows are
            not there yet, or whose files have changed since. Every other option must be as before.
        device: Where to compute.
        devices: Number of GPUs that share the work, 1 by default; with `--engine ray` of workers, by default
            one for each GPU of the cluster, or for each core where it has none.
        engine: `ray` shares out the files to the workers of a Ray cluster, that of RAY_ADDRESS or one that is
            started on this machine; see docs/scale.md. Needs `pip install "atst-audio[ray]"`.
        precision: `bf16` computes in bfloat16, which is faster where the hardware has it; embeddings then
            differ by up to 1% of their length.
        batch_size: Recordings, or windows of them, embedded at a time on each device.
        quiet: Show no progress.

    Raises:
        UsageError: an argument is invalid.
        CorpusError: the sources hold no audio.
        AudioError: recordings were left out; the message lists them.
    """
    count = 1 if devices is None else devices
    _check(out, attention, frames, window, count, batch_size, engine)
    check_windows(window, hop)
    out = None if out is None else Path(out)
    how = {"partial": partial, **how_to_read(channel, max_duration)}
    memory.keep()
    with progress.quiet(quiet), ExitStack() as stack:
        found = find_audio(sources, remote=True)
        if engine == "ray":
            cluster = stack.enter_context(ray_engine.workers(devices, device))
        else:
            pool = stack.enter_context(Pool(len(found.recordings)))  # it starts while the model loads
        encoder = _load(model, "cpu" if engine == "ray" else device, precision)
        if attention is not None:
            from atst.model.attention_report import write_attention  # needs PyTorch

            write_attention(attention, encoder, found.recordings, **how)
        if out is None:
            return
        if frames and not has_frames(encoder):
            raise UsageError(f"--frames: {encoder.name} has no frame embeddings, only one vector a clip.")
        about: dict[str, Any] = {KEY: FORMAT_VERSION}
        about |= {"model": encoder.name, "fingerprint": encoder.fingerprint}
        about |= {"frames": frames, "precision": precision, "window": window, "hop": hop or window}
        readout: dict[str, Any] = {}
        if has_frames(encoder):  # asked now, not after the first recordings
            readout = encoder.options(layers, pooling, levels, frames)
        about |= readout | ({"pooling": None} if frames else {})

        embedded = functools.partial(
            _embedded,
            cut=cutter(window, hop),
            how=how,
            frames=frames and has_frames(encoder),
            readout=readout,
        )
        rows: Callable[[Sequence[Recording], list[Reading]], Iterator[Rows]]
        if engine == "ray":
            work = functools.partial(embedded, batch_size=batch_size, folder=None)
            load = functools.partial(_load, model, device, precision)
            rows = functools.partial(cluster.rows, ray_engine.Work(load, work, encoder.fingerprint))
        else:
            models = [encoder] if frames else stack.enter_context(_spread(encoder, count))
            rows = functools.partial(embedded, pool, models, batch_size=batch_size, folder=out.parent)
        if resume or engine == "ray":
            _check_again(found, "--resume" if resume else "--engine ray")
        kept = stack.enter_context(parts.opened(out, about | how)) if resume else None
        readings = _write(out, found, rows, {"atst": __version__, **about}, kept)
    say_high([reading.high for reading in readings if reading.error is None])
    finish(len(found), found.skipped + unreadable(readings), out)


def _check_again(found: Found, option: str) -> None:
    if any(recording.named == STANDARD_INPUT for recording in found.recordings):
        raise UsageError(f"{option}: standard input cannot be read again; give files.")


def _embedded(
    pool: Pool,
    models: list[Any],
    recordings: Sequence[Recording],
    readings: list[Reading],
    *,
    cut: Cutter,
    how: dict[str, Any],
    frames: bool,
    readout: dict[str, Any],
    batch_size: int,
    folder: Path | None,
) -> Iterator[Rows]:
    """The rows of recordings by a model, or copies of it; frames of long ones wait in files in `folder`."""
    windows = read_all(pool, recordings, cut, readings, **how)
    windows = watch(windows, "embedding", Amount(recordings, readings))
    if frames:
        return whole(frame_rows(windows, models[0], readout, folder))
    return whole(clip_rows(windows, models, batch_size, readout))


def _write(
    out: Path,
    found: Found,
    rows: Callable[[Sequence[Recording], list[Reading]], Iterator[Rows]],
    about: dict[str, Any],
    kept: parts.Parts | None,
) -> list[Reading]:
    """Write the rows that are kept and those of the other recordings; what became of each recording."""
    readings: list[Reading] = []
    waiting = found.recordings
    if kept is not None:
        waiting = kept.missing(found.recordings)
        if len(waiting) < len(found.recordings):
            done = len(found.recordings) - len(waiting)
            progress.say(f"{done:,} of {len(found.recordings):,} recordings are done already")
        kept.keep(rows(waiting, readings))
        failed = [reading for reading in readings if reading.error is not None]
        readings = failed + kept.readings(found.recordings)
    written = tables(rows(waiting, readings)) if kept is None else kept.tables(found.recordings)

    def empty() -> AudioError:
        return nothing_read(len(found), found.skipped + unreadable(readings))

    write_table(out, WRITERS, written, about, empty)
    return readings


def _check(
    out: Path | str | None,
    attention: Path | str | None,
    frames: bool,
    window: float | None,
    devices: int,
    batch_size: int,
    engine: str,
) -> None:
    if out is None and attention is None:
        raise UsageError("nothing to write: give --out FILE.parquet or FILE.npz, or --attention FILE.html.")
    if out is not None:
        check_out(Path(out), WRITERS)
    if frames and window is not None:
        raise UsageError("--window gives a row a window, --frames a row for each 40 ms: give one of them.")
    if frames and devices > 1 and engine == "local":
        raise UsageError("--devices shares out clips; --frames uses one device.")
    for option, value in (("--batch-size", batch_size), ("--devices", devices)):
        if value < 1:
            raise UsageError(f"{option} must be 1 or more, not {value}.")


def _load(model: str | Path, device: str, precision: str) -> Embedder:
    """A model, without an import of PyTorch for one that does not need it."""
    encoder: Any
    if str(model).endswith(".onnx"):
        encoder = onnx.load(model, device)
    else:
        with importing():
            from atst.model.load import load

        encoder = load(model, device)
    if precision != "float32":
        if not hasattr(encoder, "precision"):
            raise UsageError(f"--precision {precision}: {encoder.name} computes in float32 only.")
        encoder.precision = precision
    return encoder


def _spread(encoder: Embedder, devices: int) -> AbstractContextManager[list[Embedder]]:
    if isinstance(encoder, onnx.OnnxModel) and devices == 1:
        return nullcontext([encoder])
    from atst.model.replicas import spread

    return spread(encoder, devices)
