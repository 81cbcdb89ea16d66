"""`atst predict`: labels and scores for recordings, by a saved classifier."""

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import chain, groupby, islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from atst import __version__
from atst.commands._options import Flag, Quiet
from atst.cores import in_parallel
from atst.errors import AudioError, UsageError
from atst.events.predictions import audacity_file, check_one_recording, raven_file
from atst.model.classifier import Classifier, load_classifier
from atst.model.replicas import spread
from atst.output import progress
from atst.output.progress import watch
from atst.output.skipped import finish, nothing_read
from atst.output.table import Writer, check_out, csv_file, csv_lines, jsonl_file, parquet, write_table
from atst.output.text import path_text
from atst.output.version import KEY
from atst.sound.amount import Amount
from atst.sound.find import find_audio
from atst.sound.levels import say_high
from atst.sound.options import how_to_read
from atst.sound.pool import Pool
from atst.sound.windows import Reading, Window, batches, check_windows, cutter, read_all, unreadable, whole
from atst.training import memory

WRITERS: dict[str, Writer] = {
    ".csv": csv_file,
    ".jsonl": jsonl_file,
    ".parquet": parquet,
    ".selections.txt": raven_file,
    "labels.txt": audacity_file,
}
FORMAT_VERSION = 1  # of a Parquet file of scores
MULTI_THRESHOLD = 0.5  # of a multi-label classifier, where neither --top nor --threshold is given


@dataclass
class Row:
    """A stretch of a recording, or all of it, with its scores."""

    reading: Reading
    start: float  # s
    end: float
    scores: NDArray[np.float64]  # (C,)


def predict(
    sources: Sequence[str | Path],
    /,
    *,
    model: Path | str,
    out: Path | str | None = None,
    window: float | None = None,
    hop: float | None = None,
    top: int | None = None,
    threshold: float | None = None,
    channel: int | str = "mean",
    partial: Flag = False,
    max_duration: float | None = None,
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto",
    batch_size: int = 32,
    quiet: Quiet = False,
) -> None:
    """Label recordings with a classifier trained by `atst probe` or `atst finetune`.

    For example:

        atst predict sounds/ --model probes/mine --out sounds.csv

    One row per recording, classified as the test clips were (by a probe: its middle 12 s); the scores of a
    recording over 60 s are averaged over its minutes. With `--window` one row for each window of that many
    seconds. The columns are `path`, `start`, `end` (seconds), `partial`, `label` and `score`, a
    calibrated probability. With `--top` above 1, and for multi-label classifiers, `labels` and `scores` hold
    several instead, best first. A recording that cannot be read to its end is left out and listed in
    OUT.errors.csv, with exit code 1; the rest is complete. An existing file is replaced at the end.

    Args:
        sources: Audio files or their addresses (https://, s3://, ...), folders to search for audio, packed
            corpora or their addresses, manifests (.csv, .jsonl, .txt), which may have columns `start` and
            `end` (seconds), and `-` for a recording from standard input.
        model: The --out folder of a probe or a fine-tuning, or the model/ folder in it.
        out: The file to write: FILE.csv, FILE.jsonl or FILE.parquet, FILE.selections.txt for Raven, or
            FILE.labels.txt for Audacity (one recording). Default: CSV lines on the screen.
        window: Label windows of this many seconds instead of whole recordings.
        hop: Seconds from one window to the next. Default: the window's length, so that none overlap.
        top: Labels in a row. Default: 1; for a multi-label classifier all above the threshold.
        threshold: Labels with a lower score are left out; a row may then have none. Default: 0; 0.5 for a
            multi-label classifier without --top.
        channel: `mean` of all channels, or the index of one, from 0.
        partial: Label recordings that were cut short as far as they go; the column `partial` marks them.
        max_duration: Skip, and list, recordings longer than this many seconds, or whose header says so.
        device: Where to compute.
        batch_size: Windows classified at a time.
        quiet: Show no progress.

    Raises:
        UsageError: an argument is invalid.
        ModelError: the folder holds no classifier.
        CorpusError: the sources hold no audio.
        AudioError: recordings were left out; the message lists them.
    """
    if out is not None:
        check_out(Path(out), WRITERS)
    _check(window, hop, top, threshold, batch_size)
    how = {"partial": partial, **how_to_read(channel, max_duration)}
    memory.keep()
    with progress.quiet(quiet), ExitStack() as stack:
        found = find_audio(sources, remote=True)
        if out is not None and str(out).endswith("labels.txt"):
            check_one_recording([path_text(recording.name) for recording in found.recordings])
        pool = stack.enter_context(Pool(len(found.recordings)))  # it starts while the classifier loads
        classifier = load_classifier(model, device)
        readings: list[Reading] = []
        if window is not None:
            _check_window(classifier, window)
        cut = cutter(window, hop, classifier.clip_seconds)
        windows = read_all(pool, found.recordings, cut, readings, **how)
        if out is not None or not sys.stdout.isatty():
            windows = watch(windows, "predicting", Amount(found.recordings, readings))
        models = stack.enter_context(spread(classifier.encoder))
        rows = whole(_judged(windows, [replace(classifier, encoder=m) for m in models], batch_size))
        rows = rows if window is not None else _averaged(rows)
        tables = _tables(rows, classifier, top, threshold, batch_size)

        def empty() -> AudioError:
            return nothing_read(len(found), found.skipped + unreadable(readings))

        if out is None:
            _print(tables, empty)
        else:
            write_table(Path(out), WRITERS, tables, _about(classifier, window, hop), empty)
    say_high([reading.high for reading in readings if reading.error is None])
    finish(len(found), found.skipped + unreadable(readings), None if out is None else Path(out))


def _check(
    window: float | None, hop: float | None, top: int | None, threshold: float | None, batch_size: int
) -> None:
    check_windows(window, hop)
    if top is not None and top < 1:
        raise UsageError(f"--top must be 1 or more, not {top}.")
    if threshold is not None and not 0 <= threshold <= 1:
        raise UsageError(f"--threshold is a score, 0 to 1, not {threshold:g}.")
    if batch_size < 1:
        raise UsageError(f"--batch-size must be 1 or more, not {batch_size}.")


def _check_window(classifier: Classifier, window: float) -> None:
    """A window is classified as a clip in training was, so it cannot be longer."""
    if classifier.clip_seconds is not None and window > classifier.clip_seconds:
        longest = f"{classifier.clip_seconds:g} s, the longest clips this classifier was trained on"
        raise UsageError(f"--window {window:g}: must be at most {longest}.")


def _judged(windows: Iterable[Window], alike: list[Classifier], batch_size: int) -> Iterator[Row]:
    def judged(classifier: Classifier, batch: list[Window]) -> list[Row]:
        scores = classifier.scores([window.waveform for window in batch], batch_size)
        return [
            Row(window.reading, window.start, window.end, row)
            for window, row in zip(batch, scores, strict=True)
        ]

    for rows in in_parallel(alike, judged, batches(windows, batch_size)):
        yield from rows


def _averaged(rows: Iterable[Row]) -> Iterator[Row]:
    """One row per recording, averaged by duration."""
    for reading, group in groupby(rows, key=lambda row: row.reading):
        parts = list(group)
        weights = [part.end - part.start for part in parts]
        mean = np.average([part.scores for part in parts], axis=0, weights=weights)
        yield Row(reading, parts[0].start, parts[-1].end, mean)


def _tables(
    rows: Iterable[Row], classifier: Classifier, top: int | None, threshold: float | None, size: int
) -> Iterator[pa.Table]:
    """The rows in tables of `size`, with the labels that they show."""
    single = not classifier.multi_label and top in (None, 1)
    if threshold is None and classifier.multi_label and top is None:
        threshold = MULTI_THRESHOLD
    if top is None:
        top = len(classifier.labels) if classifier.multi_label else 1
    rows = iter(rows)
    while group := list(islice(rows, size)):
        found = [_best(row.scores, top, threshold or 0.0) for row in group]
        columns: dict[str, pa.Array] = {
            "path": pa.array([path_text(row.reading.recording.name) for row in group], pa.string()),
            "start": pa.array([row.start for row in group], pa.float64()),
            "end": pa.array([row.end for row in group], pa.float64()),
            "partial": pa.array([row.reading.partial for row in group], pa.bool_()),
        }
        labels = [[classifier.labels[i] for i in best] for best in found]
        if single:
            columns["label"] = pa.array([best[0] if best else None for best in labels], pa.string())
            columns["score"] = pa.array([float(row.scores.max()) for row in group], pa.float64())
        else:
            scores = [row.scores[best].tolist() for row, best in zip(group, found, strict=True)]
            columns["labels"] = pa.array(labels, pa.list_(pa.string()))
            columns["scores"] = pa.array(scores, pa.list_(pa.float64()))
        yield pa.table(columns)


def _best(scores: NDArray[np.float64], top: int, threshold: float) -> list[int]:
    """Which labels are shown, best first."""
    order = np.argsort(-scores, kind="stable")[:top]
    return [int(i) for i in order if scores[i] >= threshold]


def _print(tables: Iterator[pa.Table], empty: Callable[[], AudioError]) -> None:
    """CSV lines as soon as they are there."""
    first = next(tables, None)
    if first is None:
        raise empty()
    write = csv_lines(sys.stdout, first.column_names)
    for table in chain([first], tables):
        write(table)
        sys.stdout.flush()


def _about(classifier: Classifier, window: float | None, hop: float | None) -> dict[str, Any]:
    about = {
        KEY: FORMAT_VERSION,
        "atst": __version__,
        "model": classifier.name,
        "fingerprint": classifier.encoder.fingerprint,
    }
    return about | {"labels": classifier.labels, "window": window, "hop": hop or window}
