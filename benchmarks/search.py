"""Search in a library: seconds a query, recall of the index, and precision on labelled sounds.

    python benchmarks/search.py [--data ../shared/data] [--rows 10000 1000000] [--width 384] [--model logmel]
                                [--folder DIR] [--index]

First on made vectors: the time of a query that is a row, in a process that has started (the file is in the
system's cache), and with the start of `atst search`; with `--index` also by index. Then on ESC-10 and the
instrument notes: the share of a recording's 10 nearest that have its class, the mean of each class's mean.
"""

import argparse
import csv
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import atst
from atst import Library
from atst.library.index import Index
from atst.library.query import QueryModel, find_query
from atst.library.search import search
from atst.library.similarity import directions, nearest

GROUP = 1024
REPEATS = 3
NEIGHBOURS = 10


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--rows", type=int, nargs="*", default=[10_000, 1_000_000])
    parser.add_argument("--width", type=int, default=384)
    parser.add_argument("--model", action="append", help="default: logmel, functionals")
    parser.add_argument("--folder", type=Path, help="where libraries are made; default: a temporary folder")
    parser.add_argument("--index", action="store_true", help="build an index of the made vectors too")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        if options.rows:
            header("rows", "features", "first time, s", "query, s", "with start, s", "by index")
        for rows in options.rows:
            path = folder / f"made{rows}.parquet"
            if not path.exists():
                make(path, rows, options.width)
            print(speed(path, options.width, options.index), flush=True)
        header("task", "model", "precision at 10, exact", "by index", "recall of the index")
        for model in options.model or ["logmel", "functionals"]:
            for task in ("esc10", "gmnotes"):
                print(precision(options.data / "tasks" / task, model, folder), flush=True)


def header(*names: str) -> None:
    print("| " + " | ".join(names) + " |\n|" + "---|" * len(names))


def make(path: Path, rows: int, width: int) -> None:
    """Vectors around 1,000 centres, written as `atst embed` writes them."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(1000, width)).astype(np.float32)
    writer = None
    for at in range(0, rows, GROUP):
        count = min(GROUP, rows - at)
        vectors = centres[rng.integers(1000, size=count)] + rng.normal(size=(count, width)).astype(np.float32)
        embedding = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), width)
        names = [f"sounds/{row:07}.wav" for row in range(at, at + count)]
        columns = {"path": names, "start": np.zeros(count), "end": np.ones(count), "embedding": embedding}
        table = pa.table(columns)
        if writer is None:
            about = json.dumps({"model": "made", "fingerprint": "made"})
            writer = pq.ParquetWriter(
                path, table.schema.with_metadata({"atst": about}), compression="zstd", use_dictionary=["path"]
            )
        writer.write_table(table, row_group_size=count)
    assert writer is not None
    writer.close()


def speed(path: Path, width: int, with_index: bool) -> str:
    def query(index: Index | None = None) -> float:
        began = time.perf_counter()
        library = Library(path)
        found = find_query(library, "sounds/0000005.wav", None, QueryModel(library))
        assert len(search(library, found, 20, index=index)) == 20
        return time.perf_counter() - began

    first = query()  # mean and deviation are computed, the file is read into the cache
    inside = min(query() for _ in range(REPEATS))
    command = [sys.executable, "-m", "atst", "search", str(path), "sounds/0000005.wav", "-q"]
    outside = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        outside.append(time.perf_counter() - began)
    by_index = ""
    if with_index:
        index = Index(Library(path))
        by_index = f"{min(query(index) for _ in range(REPEATS)):.3f} s; {index}"
    rows = len(Library(path))
    return f"| {rows:,} | {width} | {first:.2f} | {inside:.3f} | {min(outside):.2f} | {by_index} |"


def precision(task: Path, model: str, folder: Path) -> str:
    with (task / "meta.csv").open() as file:
        labels = {str(task / line["path"]): line["label"] for line in csv.DictReader(file)}
    out = folder / f"{task.name}-{Path(model).name}.parquet"
    if not out.exists():
        atst.embed([task / "meta.csv"], model=model, out=out, quiet=True)
    library = Library(out)
    classes = np.array([labels[path] for path in library.paths])
    queries = directions(library, library.matrix())
    exact, _ = nearest(library, queries, NEIGHBOURS + 1)
    index = Index(library)
    values = []
    for rows in (exact, index.found(queries, NEIGHBOURS + 1)):
        others = rows != np.arange(len(library))[:, None]
        right = (classes[rows] == classes[:, None]) & others & (others.cumsum(1) <= NEIGHBOURS)
        each = right.sum(1) / NEIGHBOURS
        values.append(np.mean([each[classes == name].mean() for name in np.unique(classes)]))
    return f"| {task.name} | {model} | {values[0]:.3f} | {values[1]:.3f} | {index.recall:.3f} |"


if __name__ == "__main__":
    main()
