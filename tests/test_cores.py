"""How many cores a process may use, and how its threads wait."""

import gc
import os
import subprocess
import sys

import joblib
import pytest
import torch

from atst import cores


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("share", "expected"), [(None, 8), ("2", 2), ("16", 8), ("0", 1), ("2(x3)", 8), ("", 8)]
)
def test_slurm_counts_where_it_gives_less(monkeypatch, share, expected):
    monkeypatch.setattr(joblib, "cpu_count", lambda: 8)
    monkeypatch.delenv("SLURM_CPUS_PER_TASK", raising=False)
    if share is not None:
        monkeypatch.setenv("SLURM_CPUS_PER_TASK", share)
    assert cores.cores() == expected


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the system has no affinity")
def test_affinity_counts():
    one = min(os.sched_getaffinity(0))
    code = f"import os; os.sched_setaffinity(0, [{one}]); from atst.cores import cores; print(cores())"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout == b"1\n"


def test_threads_are_no_more_than_the_cores_and_no_more_than_set(monkeypatch, threads):
    monkeypatch.setattr(cores, "cores", lambda: 4)
    torch.set_num_threads(6)
    assert cores.limit_threads() == torch.get_num_threads() == 4
    torch.set_num_threads(1)
    assert cores.limit_threads() == 1  # set before, by somebody


@pytest.mark.parametrize(("before", "after"), [(None, "PASSIVE"), ("ACTIVE", "ACTIVE")])
def test_the_command_line_alone_sets_the_wait_policy(before, after):
    code = (
        "import os\n"
        "import atst\n"
        f"assert os.environ.get('OMP_WAIT_POLICY') == {before!r}\n"
        "from atst.cli import main\n"
        "try: main(['--version'])\n"
        "except SystemExit: print(os.environ['OMP_WAIT_POLICY'])\n"
    )
    environment = {key: value for key, value in os.environ.items() if key != "OMP_WAIT_POLICY"}
    environment |= {} if before is None else {"OMP_WAIT_POLICY": before}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1:] == [after], done.stderr


def test_the_wait_policy_is_set_before_pytorch_is_loaded():
    code = (
        "import sys\n"
        "from atst import cli\n"
        "cli.wait_passively = lambda: sys.exit(str('torch' in sys.modules))\n"
        "cli.main(['pretrain'])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr == "False\n"


def test_modules_are_imported_without_collections_which_go_on_afterwards(tmp_path, monkeypatch):
    (tmp_path / "newly_imported.py").write_text("import gc\nenabled = gc.isenabled()\n")
    monkeypatch.syspath_prepend(tmp_path)
    with cores.importing():
        import newly_imported
    assert not newly_imported.enabled
    assert gc.isenabled()
    with pytest.raises(ModuleNotFoundError), cores.importing():
        import there_is_none  # noqa: F401
    assert gc.isenabled()
