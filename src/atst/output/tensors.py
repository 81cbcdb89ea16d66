"""Files of PyTorch's own kind."""

from pathlib import Path
from typing import Any

import torch


def save(values: Any, path: Path) -> None:
    """As `torch.save`, but of a full disk it raises `OSError`, as writing any other file does."""
    try:
        with path.open("wb") as file:
            torch.save(values, file)
    except RuntimeError as error:  # PyTorch's, while it deals with the system's
        if isinstance(error.__context__, OSError):
            raise error.__context__ from None
        raise
