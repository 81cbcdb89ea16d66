"""Jobs under a real SLURM: the scripts of docs/slurm.md, signals, numbers of tasks. Needs root."""

import csv
import fcntl
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs" / "slurm.md"
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scancel", "scontrol")
pytestmark = [
    pytest.mark.full,
    pytest.mark.skipif(
        not all(map(shutil.which, PROGRAMS)) or os.geteuid() != 0, reason="no SLURM to start, or not root"
    ),
]

CONFIGURATION = """
ClusterName=test
SlurmctldHost=localhost(127.0.0.1)
SlurmUser=root
SlurmctldPort=26817
SlurmdPort=26818
AuthType=auth/munge
AuthInfo=socket={folder}/munge
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
ProctrackType=proctrack/{tracking}
ReturnToService=2
SlurmdParameters=config_overrides
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmdSpoolDir={folder}/spool
StateSaveLocation={folder}/state
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
SelectType=select/cons_tres
KillWait=30
NodeName=localhost NodeAddr=127.0.0.1 CPUs=4 State=UNKNOWN
PartitionName=all Nodes=localhost Default=YES MaxTime=60 State=UP
"""


@pytest.fixture(scope="module")
def slurm():
    """A SLURM of one node on the loopback interface; `SLURM_CONF` says where. One at a time on a machine."""
    with (Path(tempfile.gettempdir()) / "atst-test-slurm.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield from _started()


def _started():
    folder = Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp"))
    tracking = "cgroup" if Path("/sys/fs/cgroup/freezer").is_dir() else "linuxproc"
    (folder / "slurm.conf").write_text(CONFIGURATION.format(folder=folder, tracking=tracking))
    (folder / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\nCgroupAutomount=no\n")
    (folder / "key").write_bytes(os.urandom(1024))
    (folder / "key").chmod(0o400)
    os.environ["SLURM_CONF"] = str(folder / "slurm.conf")
    files = {"key": "key", "socket": "munge", "pid": "munged.pid", "log": "munged.log", "seed": "seed"}
    munge = [f"--{name}{'' if name == 'socket' else '-file'}={folder / file}" for name, file in files.items()]
    subprocess.run(["munged", "--force", *munge], check=True)
    subprocess.run(["slurmctld", "-c"], check=True)
    subprocess.run(["slurmd", "-N", "localhost"], check=True)
    yield
    for name in ("slurmd", "slurmctld", "munged"):
        os.kill(int((folder / f"{name}.pid").read_text()), 15)
    del os.environ["SLURM_CONF"]
    time.sleep(2)  # they write as they end
    shutil.rmtree(folder, ignore_errors=True)


class Job:
    """A batch script in a folder of its own; `atst` in it is this checkout's."""

    def __init__(self, folder: Path, script: str, *options: str) -> None:
        self.folder = folder
        binaries = folder / "bin"
        binaries.mkdir(exist_ok=True)
        (binaries / "atst").write_text(f'#!/bin/sh\nexec {sys.executable} -m atst "$@"\n')
        (binaries / "atst").chmod(0o755)
        (folder / "job.sh").write_text(script)
        path = f"{binaries}:{os.environ['PATH']}"
        done = subprocess.run(
            ["sbatch", "--open-mode=append", f"--output={folder / 'out'}", *options, "job.sh"],
            cwd=folder, env=os.environ | {"PATH": path, "OMP_NUM_THREADS": "1"},
            capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        self.number = done.stdout.split()[-1]

    def signal(self, *arguments: str) -> None:
        subprocess.run(["scancel", *arguments, self.number], check=True)

    def shown(self) -> dict[str, str]:
        text = subprocess.run(["scontrol", "show", "job", self.number], capture_output=True, text=True).stdout
        return dict(re.findall(r"(\w+)=(\S+)", text))

    def said(self) -> str:
        return (self.folder / "out").read_text() if (self.folder / "out").exists() else ""

    def wait(self, *states: str, seconds: float = 180) -> str:
        end = time.monotonic() + seconds
        while (state := self.shown()["JobState"]) not in states:
            assert time.monotonic() < end, (state, self.said())
            time.sleep(0.2)
        return self.shown()["ExitCode"]

    def wait_for_steps(self, run: str = "runs/mine", count: int = 1, seconds: float = 180) -> None:
        end = time.monotonic() + seconds
        while len(steps(self.folder / run)) < count:
            assert time.monotonic() < end, self.said()
            time.sleep(0.2)


ENDED = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "PREEMPTED", "NODE_FAIL", "OUT_OF_MEMORY")
KEYS = "batch_size=2 segment_seconds=0.5 warmup_steps=1 precision=float32 checkpoint_minutes=0"


def steps(run: Path) -> list[int]:
    if not (run / "metrics.csv").exists():
        return []
    with (run / "metrics.csv").open(newline="") as file:
        return [int(row["step"]) for row in csv.DictReader(file)]


def pretrain(run: str = "runs/mine", count: int = 100000, more: str = "--resume") -> str:
    keys = " ".join(f"--set {key}" for key in [*KEYS.split(), f"max_steps={count}"])
    return f"atst pretrain synthetic:50 --out {run} --recipe nano --device cpu --workers 1 {keys} {more}"


def documented(index: int) -> str:
    """A script of the documentation, with a small run and sizes that this machine has."""
    script = re.findall(r"```bash\n(.*?)```", DOCS.read_text(), re.DOTALL)[index]
    script = re.sub(r" ?--(time|cpus-per-task|mem|gpus-per-node)=\S+", "", script)
    return script.replace("atst pretrain my-sounds --out runs/mine --resume", pretrain())


def test_the_first_script_saves_on_scancel_and_goes_on_after_a_requeue(slurm, tmp_path):
    job = Job(tmp_path, documented(0))
    job.wait_for_steps()
    subprocess.run(["scontrol", "requeue", job.number], check=True)
    job.wait("PENDING")
    saved = len(list((tmp_path / "runs/mine/checkpoints").iterdir()))
    assert saved >= 1
    subprocess.run(["scontrol", "update", f"jobid={job.number}", "starttime=now"], check=True)
    before = len(steps(tmp_path / "runs/mine"))
    job.wait_for_steps(count=before + 1, seconds=400)
    job.signal()
    job.wait(*ENDED)
    rows = steps(tmp_path / "runs/mine")
    assert rows == list(range(len(rows)))
    assert "Traceback" not in job.said()
    assert "warning: when SLURM" not in job.said()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bin", "job.sh", "out", "runs"]


def test_the_script_with_a_trap_requeues_itself(slurm, tmp_path):
    job = Job(tmp_path, documented(1))
    job.wait_for_steps()
    job.signal("--batch", "--signal=USR1")
    job.wait("PENDING")
    assert job.shown()["Restarts"] == "1"
    assert list((tmp_path / "runs/mine/checkpoints").iterdir())
    assert "Saved at step " in job.said()
    job.signal()


def test_tasks_train_together(slurm, tmp_path):
    job = Job(tmp_path, documented(2).replace("max_steps=100000", "max_steps=4"))
    assert job.wait(*ENDED) == "0:0", job.said()
    assert steps(tmp_path / "runs/mine") == [0, 1, 2, 3]
    assert job.said().count("done: 4 steps") == 1
    assert len(list((tmp_path / "runs/mine/tensorboard").iterdir())) == 1


def test_sigusr1_saves_and_leaves_nothing_else(slurm, tmp_path):
    job = Job(tmp_path, f"#!/bin/bash\nsrun {pretrain()}", "--requeue")
    job.wait_for_steps()
    job.signal("--signal=USR1")
    assert job.wait(*ENDED) == "138:0", job.said()
    assert list((tmp_path / "runs/mine/checkpoints").iterdir())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bin", "job.sh", "out", "runs"]


@pytest.mark.parametrize(
    ("options", "command", "says"),
    [
        (["--ntasks=1"], "srun {} --devices 2", "SLURM_STEP_NUM_TASKS=1"),
        (["--ntasks-per-node=2"], "srun {}", "SLURM_STEP_NUM_TASKS=2"),
        (["--ntasks-per-node=2"], "exec {} --devices 2", "SLURM_NTASKS=2"),
    ],
)
def test_a_wrong_number_of_tasks_is_one_line_and_no_folder(slurm, tmp_path, options, command, says):
    job = Job(tmp_path, f"#!/bin/bash\n{command.format(pretrain(count=2))}", *options)
    assert job.wait(*ENDED) == "2:0", job.said()
    assert job.said().count("atst: error: ") == 1
    assert says in job.said()
    assert not (tmp_path / "runs").exists()


def test_a_plain_line_is_advised_against_and_one_process_trains_whatever_slurm_says(slurm, tmp_path):
    job = Job(tmp_path, f"#!/bin/bash\n{pretrain(count=2)}\ntrue", "--ntasks=4")
    assert job.wait(*ENDED) == "0:0", job.said()
    assert job.said().count("warning: when SLURM stops this job") == 1
    assert steps(tmp_path / "runs/mine") == [0, 1]
