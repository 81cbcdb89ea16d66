"""Libraries made for a test: embedding files as `atst embed` writes them, without a model."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

ABOUT = {"model": "logmel", "fingerprint": "f", "frames": False, "layers": 1, "pooling": "mean"}


def write(
    path: Path,
    vectors: Any,
    paths: list[str] | None = None,
    group: int = 1024,
    about: dict[str, Any] | None = ABOUT,
    **columns: Any,
) -> Path:
    """A Parquet file of these vectors (N, D); of recordings 0.wav, 1.wav, ... of a second each."""
    vectors = np.asarray(vectors, np.float32)
    paths = [f"{i}.wav" for i in range(len(vectors))] if paths is None else paths
    embedding = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel(), pa.float32()), vectors.shape[1])
    seconds = {"start": np.zeros(len(vectors)), "end": np.ones(len(vectors))}
    table = pa.table({"path": pa.array(paths, pa.string()), **seconds, **columns, "embedding": embedding})
    metadata = None if about is None else {"atst": json.dumps(about)}
    pq.write_table(table.replace_schema_metadata(metadata), path, row_group_size=group)
    return path
