"""How many loader processes `workers=-1` starts."""

import pytest

from atst.training import loader


@pytest.mark.parametrize(
    ("cores", "processes", "expected"), [(2, 1, 1), (1, 1, 1), (8, 1, 7), (8, 4, 1), (64, 1, 16), (64, 8, 7)]
)
def test_processes_that_train_together_share_the_cores(monkeypatch, cores, processes, expected):
    monkeypatch.setattr(loader, "cores", lambda: cores)
    assert loader.worker_count(-1, processes) == expected
    assert loader.worker_count(3, processes) == 3


def test_each_of_sruns_tasks_has_its_own_cores(monkeypatch):
    monkeypatch.setattr(loader, "cores", lambda: 4)
    for name, value in {"SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"}.items():
        monkeypatch.setenv(name, value)
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    assert loader.worker_count(-1, 4) == 3
