"""A packed corpus whose manifest had labels becomes a task."""

import csv
import functools
import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from atst.errors import UsageError
from atst.sound.packed import INDEX, Packed, open_packed
from atst.tasks.listing import build_task
from atst.tasks.tables import read_table
from atst.tasks.task import Task

NOT_NEEDED = ("samples", "shard", "offset", "factor", "beyond", "high", "remark", "sample_rate")


def packed_task(folder: str, seed: int) -> Task:
    """The task in the further columns of a packed corpus: those that `read_task` knows.

    Raises `UsageError` as `read_task` does, `CorpusError` for a damaged corpus.
    """
    corpus = open_packed(folder)
    if corpus is None:
        raise UsageError(f"{folder}: not a packed corpus.")
    listing = read_table(Path(folder) / INDEX, _table(corpus))
    assert listing.lines is not None, "it is of a table"
    rows = np.array(listing.lines) - 2  # the first line is the header
    name = f"{Path(folder).name}/{INDEX}"
    waveform = functools.partial(_waveform, corpus, rows)
    return build_task(f"{folder}/{INDEX}", None, listing, seed, name=name, waveform=waveform)


def _waveform(corpus: Packed, rows: NDArray[np.int64], index: int) -> NDArray[np.float32]:
    return corpus.waveform(int(rows[index]))


def _table(corpus: Packed) -> io.StringIO:
    """The index as the lines of a CSV file, a row a line; stretches only where there are any."""
    columns = {name: values for name, values in corpus.columns().items() if name not in NOT_NEEDED}
    if len(set(columns["path"])) == len(corpus) and not any(columns["start"]):
        del columns["start"], columns["end"]
    stream = io.StringIO()
    writer = csv.writer(stream)
    writer.writerow(columns)
    for row in zip(*columns.values(), strict=True):
        writer.writerow([" ".join(cell.split()) if isinstance(cell, str) else cell for cell in row])
    stream.seek(0)
    return stream
