"""What is known of each row of a map besides its sound: label, folder, time of day, suggestion and more."""

import os
import re
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from atst.errors import ModelError
from atst.library.label_table import LabelTable
from atst.library.layout import Layout
from atst.library.library import Library
from atst.model.classifier import Classifier

# A date and a time of day in a file's name, as recorders write them: 20240501_043000, 2024-05-01T04-30-00.
RECORDED = re.compile(
    r"(?<!\d)(19|20)\d\d[-_.]?[01]\d[-_.]?[0-3]\d[-_T ]{0,3}"
    r"(?P<hour>[01]\d|2[0-3])[-_.:h]?(?P<minute>[0-5]\d)[-_.:m]?(?P<second>[0-5]\d)(?!\d)"
)

Columns = dict[str, list[Any]]  # by name, a value a row


def columns_of(
    library: Library, layout: Layout, table: LabelTable | None = None, classifier: Classifier | None = None
) -> Columns:
    """The columns of the rows of a map; None stands for what is not known. Raises `ModelError`."""
    rows = [int(row) for row in layout.rows]
    paths = [library.paths[row] for row in rows]
    found: Columns = {}
    if table is not None:
        found["label"] = _labels(library, rows, table)
    found |= _own_columns(library, rows, set(found))
    found["folder"] = [str(PurePosixPath(path).parent) for path in paths]
    hours = [_hour(path, library.starts[row]) for path, row in zip(paths, rows, strict=True)]
    if any(hour is not None for hour in hours):
        found["time of day (h)"] = hours
    found["cluster"] = [None if cluster < 0 else f"cluster {cluster}" for cluster in layout.clusters]
    found["outlier score"] = [round(float(value), 4) for value in layout.outliers]
    if classifier is not None:
        found |= _suggestions(library, layout, classifier)
    return found


def _own_columns(library: Library, rows: list[int], taken: set[str]) -> Columns:
    """The library's further columns, if they hold text or numbers that differ."""
    found: Columns = {}
    for name in library.columns:
        values = library.column(name)
        own = [values[row] for row in rows]
        if name not in taken and all(isinstance(value, str | int | float | None) for value in own):
            plain = [str(value) if isinstance(value, bool) else value for value in own]
            found |= {name: plain} if len(set(plain)) > 1 else {}
    return found


def _labels(library: Library, rows: list[int], table: LabelTable) -> list[str | None]:
    places = [(library.locate(row), float(library.starts[row]), float(library.ends[row])) for row in rows]
    found = [None if path is None else table.find(os.path.realpath(path), *times) for path, *times in places]
    return [None if label is None else ";".join(label.labels) for label in found]


def _hour(path: str, start: float) -> float | None:
    """The time of day at which a stretch starts, in hours, if the name of its recording tells."""
    match = RECORDED.search(PurePosixPath(path).name)
    if match is None:
        return None
    seconds = int(match["hour"]) * 3600 + int(match["minute"]) * 60 + int(match["second"])
    return round((seconds + float(np.nan_to_num(start))) / 3600 % 24, 4)


def _suggestions(library: Library, layout: Layout, classifier: Classifier) -> Columns:
    """The classifier's best label, and its doubt: 1 - the score. Raises `ModelError` for other features."""
    about, features = library.metadata, classifier.features
    same = classifier.encoder.fingerprint == about.get("fingerprint") and all(
        features.get(key) == about.get(key, features.get(key)) for key in ("layers", "pooling", "levels")
    )
    if not same or classifier.clip_seconds is not None or about.get("frames"):
        raise ModelError(
            f"{classifier.name}: judges other features than those in {library.path}; atst label --out makes "
            "a classifier that fits."
        )
    embeddings = layout.features * library.std + library.mean
    scores = classifier.judge(embeddings)
    best = scores.argmax(1)
    return {
        "suggestion": [classifier.labels[i] for i in best],
        "doubt": [round(1 - float(row[i]), 4) for row, i in zip(scores, best, strict=True)],
    }
