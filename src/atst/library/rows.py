"""Windows of recordings become rows of embeddings, and rows tables with the columns of the output."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from atst.cores import in_parallel
from atst.model.embedder import Embedder, FrameEmbedder
from atst.output.text import path_text
from atst.sound import audio
from atst.sound.windows import Reading, Window, batches

Floats = NDArray[np.float64]

IN_MEMORY = 900.0  # s of a recording whose patches wait in memory until it has ended
TABLE_ROWS, TABLE_BYTES = 256, 2**20


@dataclass
class Rows:
    """Rows of one window."""

    reading: Reading
    starts: Floats  # (R,)
    ends: Floats
    vectors: NDArray[np.float32]  # (R, D)


def clip_rows(
    windows: Iterable[Window], models: list[Embedder], batch_size: int, options: dict[str, Any]
) -> Iterator[Rows]:
    """One row a window; each batch is embedded by one of the models, which are alike."""

    def embedded(model: Embedder, batch: list[Window]) -> list[Rows]:
        waveforms = [window.waveform for window in batch]
        vectors = model.embed(waveforms, sample_rate=audio.SAMPLE_RATE, batch_size=batch_size, **options)
        return [
            Rows(window.reading, np.array([window.start]), np.array([window.end]), vector[None])
            for window, vector in zip(batch, vectors, strict=True)
        ]

    for rows in in_parallel(models, embedded, batches(windows, batch_size)):
        yield from rows


def frame_rows(
    windows: Iterable[Window], model: FrameEmbedder, readout: dict[str, Any], folder: Path | None
) -> Iterator[Rows]:
    """One row a patch; `start` and `end` lie 20 ms before and after its centre.

    Those of a long recording wait for its end in temporary files in `folder`, by default the system's.
    """
    half = model.token_seconds / 2
    for window in windows:
        levels = {"layers": readout["layers"], "levels": readout["levels"]}
        centres, tokens = model.embed_frames(window.waveform, sample_rate=audio.SAMPLE_RATE, **levels)
        starts = np.maximum(centres - half, 0.0) + window.start  # (P,)
        if window.start - window.reading.recording.start >= IN_MEMORY:
            tokens = _on_disk(tokens, folder)
        yield Rows(window.reading, starts, centres + half + window.start, tokens)


def _on_disk(vectors: NDArray[np.float32], folder: Path | None) -> NDArray[np.float32]:
    """The same array in an unnamed temporary file, which is deleted with it."""
    with TemporaryFile(dir=folder) as file:
        file.write(vectors.tobytes())
        file.flush()
        return np.memmap(file, np.float32, "r", shape=vectors.shape)


def tables(parts: Iterable[Rows]) -> Iterator[pa.Table]:
    """The rows of the output, a megabyte at a time, or some hundred if they are small."""
    held: list[Rows] = []
    count = size = 0
    for rows in parts:
        held.append(rows)
        count, size = count + len(rows.starts), size + rows.vectors.nbytes
        if count >= TABLE_ROWS or size >= TABLE_BYTES:
            yield _table(held)
            held, count, size = [], 0, 0
    if held:
        yield _table(held)


def _table(parts: Sequence[Rows]) -> pa.Table:
    starts, ends, vectors = (
        np.concatenate([getattr(rows, name) for rows in parts]) for name in ("starts", "ends", "vectors")
    )
    names = [path_text(rows.reading.recording.name) for rows in parts for _ in rows.starts]
    marks = [rows.reading.partial for rows in parts for _ in rows.starts]
    embedding = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel(), pa.float32()), vectors.shape[1])
    columns = {"path": names, "start": starts, "end": ends, "partial": marks, "embedding": embedding}
    return pa.table(columns)
