"""The rows of a library that are most like a query."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from atst.errors import UsageError
from atst.library.query import Query
from atst.library.similarity import best, similarities

if TYPE_CHECKING:
    from atst.library.index import Index
    from atst.library.library import Library

MORE = 8  # times as many candidates, where those before were folded to too few hits


@dataclass(frozen=True)
class Hit:
    """A stretch of a recording that is like a query."""

    query: str
    rank: int  # 1 is the most similar
    path: str  # as stored
    start: float  # s; NaN: not known
    end: float
    similarity: float  # cosine, -1 to 1
    row: int  # of the library


def search(
    library: "Library", query: Query, k: int, per_file: int | None = None, index: "Index | None" = None
) -> list[Hit]:
    """At most `k` hits, best first, without the query itself; at most `per_file` of one recording.

    Exact, or among what an index finds. Raises `UsageError` for a `k` or `per_file` below 1.
    """
    for name, value in (("-k", k), ("--per-file", per_file)):
        if value is not None and value < 1:
            raise UsageError(f"{name} must be 1 or more, not {value}.")
    rows, values = _candidates(library, query, k, per_file, index)
    found = list(zip(rows.tolist(), values.tolist(), strict=True))[:k]
    return [
        Hit(
            query=query.text,
            rank=rank,
            path=library.paths[row],
            start=float(library.starts[row]),
            end=float(library.ends[row]),
            similarity=value,
            row=row,
        )
        for rank, (row, value) in enumerate(found, 1)
    ]


def _candidates(
    library: "Library", query: Query, k: int, per_file: int | None, index: "Index | None"
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Rows and their similarities, best first, at least `k` if there are so many."""
    values = similarities(library, query.direction[None])[0] if index is None else None
    count = k + len(query.own)
    while True:
        if values is not None:
            rows = best(values[None], count)[0]
            found = values[rows]
        else:
            assert index is not None
            rows, found = index.nearest(query.direction, count)
        kept = ~np.isin(rows, query.own)
        rows, found = rows[kept], found[kept]
        if per_file is not None:
            kept = _first_of_each((library.paths[row] for row in rows), per_file)
            rows, found = rows[kept], found[kept]
        if len(rows) >= k or count >= len(library):
            return rows, found
        count = min(len(library), MORE * count)


def _first_of_each(paths: Iterable[str], most: int) -> NDArray[np.bool_]:
    """Marks the first `most` of each path."""
    seen: Counter[str] = Counter()
    seen_before = []
    for path in paths:
        seen_before.append(seen[path])
        seen[path] += 1
    return np.array(seen_before, int) < most


def missing_of(library: "Library", rows: Sequence[int]) -> list[str]:
    """The paths of those rows' recordings that are not on this disk."""
    return list(dict.fromkeys(library.paths[row] for row in rows if library.locate(row) is None))
