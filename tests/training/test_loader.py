"""Loader processes that die or are stuck, and the folder of their sockets."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.utils.data import Dataset

from atst.training.loader import Batches, BatchPositions


class Positions(Dataset):
    """Position in the stream to itself and the process that loaded it."""

    def __getitem__(self, position):
        if position == 1000:
            raise ValueError("a fault of the data set")
        return position, os.getpid()


def batches(start=0, workers=1, **more):
    return Batches(Positions(), BatchPositions(2, start), workers, list, **more)


def test_the_stream_goes_on_in_this_process_when_a_loader_process_is_killed():
    told = []
    stream = iter(batches(lost=told.append))
    first = next(stream)
    os.kill(first[0][1], signal.SIGKILL)
    rows = [first, *(next(stream) for _ in range(19))]
    assert [row[0] for batch in rows for row in batch] == list(range(40))
    assert rows[-1][0][1] == os.getpid()
    [why] = told
    assert why.startswith("a loader process was killed, perhaps for lack of memory")
    stream.close()


def test_nothing_is_raised_between_two_batches():
    stream = iter(batches(lost=lambda why: None))
    worker = next(stream)[0][1]
    os.kill(worker, signal.SIGKILL)
    for _ in range(200):  # PyTorch's own handler would raise here
        torch.zeros(100).sum()
        os.sched_yield()
    stream.close()


def test_a_fault_of_the_data_set_stays_one():
    with pytest.raises(ValueError, match="a fault of the data set"):
        next(iter(batches(500)))


CODE = """
import sys, tempfile, torch
from atst.training.loader import Batches, BatchPositions, socket_folder
from torch.utils.data import Dataset
class Numbers(Dataset):
    def __getitem__(self, position):
        return torch.tensor(position)
def told(why):
    print(why)
stream = iter(Batches(Numbers(), BatchPositions(2), 1, torch.stack, lost=told))
print(next(stream).tolist())
if len(sys.argv) > 1:
    import shutil
    shutil.rmtree(sys.argv[1])
    batches = [next(stream).tolist() for _ in range(20)]
    print(batches[-1])
stream.close()
"""


def run(folder, *more):
    return subprocess.run(
        [sys.executable, "-c", CODE, *more],
        env=os.environ | {"TMPDIR": str(folder)},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_a_folder_for_temporary_files_with_a_long_name(tmp_path):
    long = tmp_path / ("x" * 60) / ("y" * 60)
    long.mkdir(parents=True)
    done = run(long)
    assert done.stdout == "[0, 1]\n", done.stderr


def test_a_folder_for_temporary_files_that_is_removed_is_named(tmp_path_factory):
    folder = tmp_path_factory.mktemp("t")
    done = run(folder, str(folder))
    lines = done.stdout.splitlines()
    assert lines[0] == "[0, 1]", done.stderr
    assert lines[-1] == "[40, 41]", done.stderr
    if len(str(folder)) < 70:
        assert lines[1].startswith(str(folder)), done.stdout
        assert "removed while loader processes were using it" in lines[1]
    assert "Traceback" not in done.stderr


STUCK = """
import multiprocessing, time
from torch.utils.data import Dataset, _utils
from atst.training.loader import Batches, BatchPositions

class Stuck(Dataset):
    def __getitem__(self, position):
        if position >= 4:
            time.sleep(1000)
        return position

_utils.MP_STATUS_CHECK_INTERVAL = 0.2  # how long a loader process may take to end by itself
batches = iter(Batches(Stuck(), BatchPositions(2), 2, list))
pids = [next(batches), next(batches), *(process.pid for process in multiprocessing.active_children())]
print(*pids, flush=True)
{end}
"""


def assert_ends(tmp_path: Path, end: str) -> None:
    script = tmp_path / "stuck.py"
    script.write_text(STUCK.format(end=end))
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.startswith("[0, 1] [2, 3]"), done.stderr
    for pid in done.stdout.split()[4:]:
        assert not Path(f"/proc/{pid}").exists() or os.uname().sysname != "Linux"


@pytest.mark.full
def test_a_loader_that_is_stuck_in_a_read_does_not_keep_a_stopped_run(tmp_path):
    assert_ends(tmp_path, "del batches")


def test_a_loader_that_is_stuck_does_not_keep_an_interrupted_program(tmp_path):
    assert_ends(tmp_path, "import __main__, sys; sys.kept = batches; raise KeyboardInterrupt")
