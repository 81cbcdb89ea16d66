"""Writes embeddings as NumPy arrays in an .npz file."""

import shutil
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryFile

import numpy as np
import pyarrow as pa

NUMBERS = {"start": "<f8", "end": "<f8", "partial": "|b1", "embedding": "<f4"}  # column: NumPy type


@contextmanager
def npz(path: Path, schema: pa.Schema, about: str) -> Iterator[Callable[[pa.Table], None]]:
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
