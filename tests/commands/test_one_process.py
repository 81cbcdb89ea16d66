"""Every command that writes a folder for long holds its lock, and is one process unless told otherwise."""

import json

import pytest

import atst
from atst.commands.demo import demo
from atst.output import lock


def commands(folder):
    """Each command on an output folder; none gets as far as to look for its input."""
    plan = folder.parent / "plan.yaml"
    plan.write_text("models: [logmel]\ntasks: [no-such-folder/meta.csv]\n")
    return {
        "pretrain": lambda: atst.pretrain(["no-such-folder"], out=folder, resume=True, device="cpu"),
        "finetune": lambda: atst.finetune("no-such-folder/meta.csv", model="random:nano", out=folder),
        "evaluate": lambda: atst.evaluate(plan, out=folder),
        "demo": lambda: demo(out=folder),
    }


@pytest.mark.parametrize("name", ["pretrain", "finetune", "evaluate", "demo"])
def test_a_folder_in_use_is_refused(tmp_path, name):
    folder = tmp_path / "out"
    folder.mkdir()
    owner = {"host": "node7 pid:[1]", "process": 12, "started": "5"}
    (folder / lock.NAME).write_text(json.dumps(owner))
    with pytest.raises(atst.TrainingError, match="in use by process 12 on node7"):
        commands(folder)[name]()
    assert [path.name for path in folder.iterdir()] == [lock.NAME]


@pytest.mark.parametrize("name", ["pretrain", "finetune", "evaluate", "demo"])
def test_two_tasks_of_one_command_are_refused_before_anything_is_written(tmp_path, monkeypatch, name):
    for variable, value in {"STEP_NUM_TASKS": "2", "PROCID": "0", "LOCALID": "0"}.items():
        monkeypatch.setenv(f"SLURM_{variable}", value)
    with pytest.raises(atst.UsageError, match="SLURM_STEP_NUM_TASKS=2"):
        commands(tmp_path / "out")[name]()
    assert not (tmp_path / "out").exists()


def test_what_killed_saves_left_is_removed_by_the_run_that_goes_on(tmp_path):
    keys = ["max_steps=1", "batch_size=4", "segment_seconds=0.3", "warmup_steps=0", "precision=float32"]
    given = {"out": tmp_path / "run", "recipe": "nano", "overrides": keys, "workers": 0, "device": "cpu"}
    atst.pretrain(["synthetic:20"], **given)
    left = [tmp_path / "run/checkpoints/.step-00000009.ckpt.123.tmp", tmp_path / "run/.model.123.tmp"]
    left[0].write_bytes(bytes(1000))
    left[1].mkdir()
    (tmp_path / "run" / lock.NAME).write_text(json.dumps({"host": "node7", "process": 12, "started": ""}))
    with pytest.raises(atst.TrainingError):
        atst.pretrain(["synthetic:20"], resume=True, **given)
    assert all(path.exists() for path in left)
    (tmp_path / "run" / lock.NAME).unlink()
    atst.pretrain(["synthetic:20"], resume=True, **given)
    assert not any(path.exists() for path in left)
