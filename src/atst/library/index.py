"""An approximate index of a large library, with its recall against exact search measured.

It is kept in the user's folder for caches, not beside the library: what comes with a library from elsewhere
is not handed to a C++ library that trusts it.
"""

import hashlib
import json
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from atst.cores import cores
from atst.errors import UsageError
from atst.library.similarity import directions, nearest
from atst.output.atomic import new_file, write_text
from atst.output.cache import cache_folder
from atst.output.progress import say, track

if TYPE_CHECKING:
    from atst.library.library import Features, Library

VERSION = 1  # of an index that is kept: another one is not read
SAMPLE, NEIGHBOURS = 100, 10  # rows, and how many true neighbours of each, that recall is measured with
ENOUGH = 0.95
EXPANSION, MOST_EXPANSION = 64, 8192  # of a search; the first is usearch's default


class Index:
    """A graph of nearest neighbours over all rows of a library, by `usearch`.

    Opened from the cache, else built. `recall` is the share of the true ten nearest that it finds of a
    hundred rows of the library, with `expansion`, which is doubled until the share is 95%. Raises
    `UsageError` where usearch is not installed.
    """

    def __init__(self, library: "Library") -> None:
        try:
            from usearch.index import Index as Graph
        except ImportError as error:
            raise UsageError('an index needs another package: pip install "atst-audio[search]".') from error
        self.library = library
        graph: Any = Graph(ndim=library.width, metric="ip", dtype="f16")
        self.graph = graph
        name = hashlib.sha256(str(library.path.resolve()).encode(errors="replace")).hexdigest()[:24]
        self.path = cache_folder() / "index" / f"{name}.usearch"
        if not self._opened():
            self._build()
            self.expansion, self.recall = self._measured()
            self._keep()
        self.graph.expansion_search = self.expansion

    def __str__(self) -> str:
        found = (
            f"index: finds {self.recall:.1%} of the true {NEIGHBOURS} nearest of {self._sample().size} rows"
        )
        if self.recall >= ENOUGH:
            return f"{found} (expansion_search {self.expansion})"
        return f"{found} even with expansion_search {self.expansion}, less than {ENOUGH:.0%}"

    def nearest(self, direction: "Features", count: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """At most `count` rows that the graph finds, with their exact similarities, best first."""
        rows = self.found(direction[None], count)[0]
        rows = rows[rows >= 0]
        values = directions(self.library, self.library.vectors(rows)) @ direction
        order = np.argsort(-values, kind="stable")
        return rows[order], values[order]

    def found(self, queries: "Features", count: int) -> NDArray[np.int64]:
        """Rows (Q, count), -1 where none was found."""
        matches = self.graph.search(queries, count, threads=cores())
        keys = np.asarray(matches.keys, np.int64).reshape(len(queries), -1)
        found = np.full((len(queries), count), -1, np.int64)
        counts = np.broadcast_to(getattr(matches, "counts", keys.shape[1]), len(queries))
        for number, (row, some) in enumerate(zip(keys, counts, strict=True)):
            found[number, :some] = row[:some]
        return found

    def _opened(self) -> bool:
        """Whether the cache has the index of these very rows, which is then loaded."""
        try:
            kept = json.loads(self.path.with_suffix(".json").read_text())
            if kept["mark"] != f"{VERSION} {self.library.mark}":
                return False
            self.graph.load(str(self.path))
            self.expansion, self.recall = int(kept["expansion"]), float(kept["recall"])
        except (OSError, ValueError, KeyError, TypeError, RuntimeError):
            return False
        return len(self.graph) == len(self.library)

    def _keep(self) -> None:
        with new_file(self.path) as temporary:
            self.graph.save(str(temporary))
        about = {"mark": f"{VERSION} {self.library.mark}", "expansion": self.expansion, "recall": self.recall}
        write_text(self.path.with_suffix(".json"), json.dumps(about))

    def _build(self) -> None:
        say(f"building an index of {len(self.library):,} rows, once")
        first = 0
        for vectors in track(self.library.features(), "indexing", len(self.library.groups)):
            keys = np.arange(first, first + len(vectors), dtype=np.uint64)
            self.graph.add(keys, directions(self.library, vectors), threads=cores())
            first += len(vectors)

    def _sample(self) -> NDArray[np.int64]:
        count = min(SAMPLE, len(self.library))
        return np.sort(np.random.default_rng(0).choice(len(self.library), count, replace=False))

    def _measured(self) -> tuple[int, float]:
        """The expansion that finds enough, or the highest, and its recall."""
        sample = self._sample()
        queries = directions(self.library, self.library.vectors(sample))
        most = min(NEIGHBOURS + 1, len(self.library))  # the row itself is one of them
        _, true = nearest(self.library, queries, most)
        expansion = EXPANSION
        while True:
            self.graph.expansion_search = expansion
            recall = self._recall(queries, self.found(queries, most), true[:, -1])
            if recall >= ENOUGH or expansion >= min(MOST_EXPANSION, len(self.library)):
                return expansion, recall
            expansion *= 2

    def _recall(self, queries: "Features", found: NDArray[np.int64], least: NDArray[np.float32]) -> float:
        """Share of the rows found that are as similar as `least` (Q,), that of the last true neighbour.

        By similarity, not by number: of rows that are alike any will do.
        """
        vectors = directions(self.library, self.library.vectors(found.clip(0).ravel()))
        values = np.einsum("qkd,qd->qk", vectors.reshape(*found.shape, -1), queries)
        good = (values >= least[:, None] - 1e-5) & (found >= 0)
        others = max(1, found.shape[1] - 1)
        return float(((good.sum(1) - 1).clip(0) / others).mean())
