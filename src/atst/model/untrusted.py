"""Reads PyTorch checkpoints from untrusted sources without running anything in them."""

import argparse
import re
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch

from atst.errors import ModelError

LARGEST_FILE = 8 << 30  # bytes; the authors' base checkpoint with its optimiser's state has about 2 << 30
LARGEST_PICKLE = 64 << 20  # bytes of the object structure without the tensors; usually well below 1 << 20


def read(path: str | Path) -> Any:
    """What `torch.save` wrote to `path`: tensors on the CPU (mapped, not copied) and plain types.

    Classes that trainers leave in a checkpoint and that carry no weights become empty stand-ins; any
    other class or function is refused. Raises `ModelError`, with one line of text, for anything else.
    """
    path = Path(path)
    if not path.is_file():
        raise ModelError(f"{path}: no such file.")
    _check_archive(path)
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(_allowed()):
            warnings.simplefilter(
                "ignore"
            )  # of deprecated storage classes: about PyTorch, not about the file
            # mapped: tensors that claim more bytes than the file has are refused
            return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # a damaged pickle can raise anything
        raise ModelError(f"{path}: {_reason(error)}") from None


def _check_archive(path: Path) -> None:
    """Refuse anything but a zip archive as PyTorch writes it, before unpacking."""
    if path.stat().st_size > LARGEST_FILE:
        raise ModelError(f"{path}: {path.stat().st_size} bytes; a checkpoint has at most {LARGEST_FILE}.")
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError, UnicodeDecodeError):
        raise ModelError(
            f"{path}: not a PyTorch checkpoint, or not all of it (no zip directory at its end)."
        ) from None
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise ModelError(f"{path}: refused: its entries are compressed, which PyTorch never does.")
    if sum(entry.file_size for entry in entries) > path.stat().st_size:
        raise ModelError(f"{path}: refused: its entries claim more bytes than the file has.")
    pickles = [entry.file_size for entry in entries if entry.filename.endswith("data.pkl")]
    if len(pickles) != 1:
        raise ModelError(f"{path}: a zip archive, but not a PyTorch checkpoint.")
    if pickles[0] > LARGEST_PICKLE:
        raise ModelError(f"{path}: refused: {pickles[0]} bytes of objects beside the tensors.")


def _reason(error: Exception) -> str:
    """`torch.load`'s long message in one line."""
    text = str(error)
    named = re.search(r"(?:GLOBAL|global:?|class|function|callable)\s+([A-Za-z_][\w]*(?:\.[\w]+)+)", text)
    if "weights_only" in text.lower() or "Unsupported" in text or named:
        what = f" ({named.group(1)})" if named else ""
        return f"refused: it holds Python objects beyond tensors and plain data{what}; none was run."
    first = (text.strip().splitlines() or [""])[0]
    return f"damaged, or not a PyTorch checkpoint ({type(error).__name__}: {first[:200]})."


class _Empty:
    """Stands in for a class whose content is not needed."""

    def __init__(self, *content: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass


_EMPTY = (
    "numpy._core.multiarray.scalar",
    "numpy.core.multiarray.scalar",
    "numpy.dtype",
    "pathlib.PosixPath",
    "pathlib._local.PosixPath",
    "pytorch_lightning.callbacks.lr_monitor.LearningRateMonitor",
    "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint",  # keys of old Lightning's callback states
)
_DICTS = (
    "lightning.fabric.utilities.data.AttributeDict",
    "lightning_fabric.utilities.data.AttributeDict",
    "pytorch_lightning.utilities.parsing.AttributeDict",
)


def _allowed() -> list[Any]:
    return [argparse.Namespace, *((_Empty, name) for name in _EMPTY), *((dict, name) for name in _DICTS)]
