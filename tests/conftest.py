import os
from pathlib import Path

import pytest
import torch

torch.set_num_threads(1)  # small tensors: more threads only get in each other's way


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real audio: ATST_TEST_DATA, else `shared/data` beside the repository."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("ATST_TEST_DATA") or beside)
    if not (folder / "pretrain" / "manifest.csv").is_file():
        pytest.skip(f"no real audio at {folder} (set ATST_TEST_DATA)")
    return folder
