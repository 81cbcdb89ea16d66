"""Processes and devices under SLURM and torchrun, by their variables alone."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from atst.errors import UsageError
from atst.training import launch

VARIABLES = ("SLURM_", "RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_RANK", "MASTER_")


def step(rank, tasks, nodes=1):
    """What srun sets for a task of a step."""
    here = tasks // nodes
    values = {
        "SLURM_JOB_ID": 41, "SLURM_STEP_ID": 3, "SLURM_NTASKS": tasks, "SLURM_STEP_NUM_TASKS": tasks,
        "SLURM_STEP_NUM_NODES": nodes, "SLURM_PROCID": rank, "SLURM_LOCALID": rank % here,
        "SLURM_NODEID": rank // here, "SLURM_STEP_NODELIST": "node[7-8]" if nodes > 1 else "node7",
    }  # fmt: skip
    return {name: str(value) for name, value in values.items()}


def batch(tasks):
    """What a batch script finds; SLURM_NTASKS only where a number was asked for."""
    values = {"SLURM_JOB_ID": "41", "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NODEID": "0"}
    return values | ({} if tasks is None else {"SLURM_NTASKS": str(tasks)})


def torchrun(rank, count):
    return {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(count)}


@pytest.fixture
def set_variables(monkeypatch):
    def set_to(values):
        for name in os.environ:
            if name.startswith(VARIABLES):
                monkeypatch.delenv(name)
        for name, value in values.items():
            monkeypatch.setenv(name, value)

    return set_to


@pytest.mark.parametrize(
    ("variables", "devices"),
    [
        ({}, 1),
        ({}, 2),  # the others are started by the first
        (batch(None), 2),
        (batch(1), 1),
        (batch(4), 1),
        (step(0, 1), 1),
        (step(1, 2), 2),
        (step(3, 4, nodes=2), 4),
        (torchrun(1, 2), 2),
        (step(0, 1) | torchrun(1, 2), 2),  # torchrun as one task
        ({"LOCAL_RANK": "1", "WORLD_SIZE": "2"}, 2),  # started by the first
    ],
)
def test_right_numbers_of_processes(set_variables, variables, devices):
    set_variables(variables)
    launch.check_processes(devices)


@pytest.mark.parametrize(
    ("variables", "devices", "line"),
    [
        (step(0, 1), 2, r"--devices 2, but SLURM_STEP_NUM_TASKS=1: start `srun --ntasks=2 atst"),
        (step(0, 2), 1, r"--devices 1, but SLURM_STEP_NUM_TASKS=2.* add `--devices 2`"),
        (step(0, 4), 2, r"--devices 2, but SLURM_STEP_NUM_TASKS=4: start `srun --ntasks=2"),
        (step(0, 3, nodes=2), 3, r"SLURM_STEP_NUM_TASKS=3 on 2 nodes"),
        (batch(2), 2, r"--devices 2 in a job with SLURM_NTASKS=2.* not started by srun.*`srun atst"),
        (batch(1), 2, r"--devices 2 in a job with SLURM_NTASKS=1.* not started by srun"),
        (torchrun(0, 4), 2, r"--devices 2, but WORLD_SIZE=4: start it with `torchrun --nproc-per-node=2`"),
        ({}, 0, r"--devices 0: must be 1 or more"),
    ],
)
def test_a_wrong_number_of_processes_is_one_line_from_the_first(set_variables, variables, devices, line):
    set_variables(variables)
    with pytest.raises(UsageError, match=line) as error:
        launch.check_processes(devices)
    assert "\n" not in str(error.value)
    if "SLURM_STEP_ID" in variables:
        set_variables(variables | {"SLURM_PROCID": "1"})
        with pytest.raises(SystemExit) as exit:
            launch.check_processes(devices)
        assert exit.value.code == 2


def test_the_first_of_several_processes(set_variables):
    for variables, first in [
        ({}, True),
        (batch(4), True),
        (step(0, 2), True),
        (step(1, 2), False),
        (torchrun(0, 2), True),
        (torchrun(1, 2), False),
        ({"LOCAL_RANK": "1"}, False),
    ]:
        set_variables(variables)
        assert launch.is_first_process() == first


def test_what_lightning_is_told(set_variables):
    set_variables(step(3, 4, nodes=2))
    there = launch.Environment()
    assert (there.local_rank(), there.node_rank(), there.nodes) == (1, 1, 2)
    assert there.creates_processes_externally
    assert there.main_address == "node7"
    set_variables(step(0, 4, nodes=2))
    assert launch.Environment().main_port == there.main_port
    set_variables(batch(4))
    alone = launch.Environment()
    assert (alone.local_rank(), alone.node_rank(), alone.nodes) == (0, 0, 1)
    assert not alone.creates_processes_externally


@pytest.mark.parametrize(
    ("before", "advised"), [("", True), pytest.param("trap : TERM; ", False, marks=pytest.mark.full)]
)
def test_advice_where_the_parent_is_a_batch_script_that_passes_no_signal(before, advised):
    code = "from atst.training.launch import check_processes; check_processes()"
    script = f"{before}SLURM_TASK_PID=$$ {sys.executable} -c '{code}'; true"
    bash = shutil.which("bash")
    said = subprocess.run([bash, "-c", script], capture_output=True, text=True, check=True, timeout=120)
    assert ("warning: when SLURM stops this job" in said.stderr) == (
        advised and Path("/proc/self/status").exists()
    )
    assert said.stderr.count("\n") <= 1
