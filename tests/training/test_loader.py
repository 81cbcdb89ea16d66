"""Loader processes end when the training does."""

import os
import subprocess
import sys
from pathlib import Path

STUCK = """
import time
from torch.utils.data import Dataset, _utils
from atst.training.loader import BatchPositions, loader_of

class Stuck(Dataset):
    def __getitem__(self, position):
        if position >= 4:
            time.sleep(1000)
        return position

_utils.MP_STATUS_CHECK_INTERVAL = 0.2  # how long a loader process may take to end by itself
batches = iter(loader_of(Stuck(), BatchPositions(2), 2, list))
print(next(batches), next(batches), *(worker.pid for worker in batches._workers), flush=True)
{end}
"""


def assert_ends(tmp_path: Path, end: str) -> None:
    script = tmp_path / "stuck.py"
    script.write_text(STUCK.format(end=end))
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.startswith("[0, 1] [2, 3]"), done.stderr
    for pid in done.stdout.split()[4:]:
        assert not Path(f"/proc/{pid}").exists() or os.uname().sysname != "Linux"


def test_a_loader_that_is_stuck_in_a_read_does_not_keep_a_stopped_run(tmp_path):
    assert_ends(tmp_path, "del batches")


def test_a_loader_that_is_stuck_does_not_keep_an_interrupted_program(tmp_path):
    assert_ends(tmp_path, "import __main__, sys; sys.kept = batches; raise KeyboardInterrupt")
