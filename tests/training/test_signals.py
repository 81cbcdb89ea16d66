"""What a signal, or SLURM's variables, do to a training in this process."""

import csv
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file

import atst
from atst.evaluation import knn
from atst.finetuning.epochs import Epochs

TINY = ["batch_size=4", "segment_seconds=0.3", "min_seconds=0.2", "warmup_steps=1", "checkpoint_minutes=0"]
ONE_TASK = {"SLURM_JOB_ID": "41", "SLURM_STEP_ID": "0", "SLURM_NTASKS": "1", "SLURM_STEP_NUM_TASKS": "1"}
ONE_TASK |= {"SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NODEID": "0", "SLURM_JOB_NAME": "job"}
SECONDS = 60  # that a measurement would take which nothing ends


@pytest.fixture
def sounds(tmp_path):
    """Twelve short tones of two kinds and their table."""
    folder = tmp_path / "sounds"
    folder.mkdir()
    rows = ["path,label,split"]
    for i in range(12):
        wave = np.sin(np.arange(8000) * (0.2 if i % 2 else 0.6)) * (0.5 + i / 24)
        soundfile.write(folder / f"{i}.wav", wave, 16000)
        rows.append(f"{i}.wav,{'ab'[i % 2]},{('train', 'valid', 'test')[i // 4]}")
    (folder / "meta.csv").write_text("\n".join(rows) + "\n")
    return folder


def pretrain(sounds, out, steps, *more, **options):
    keys = [*TINY, f"max_steps={steps}", "precision=float32", *more]
    return atst.pretrain([sounds], out=out, recipe="nano", overrides=keys, workers=0, device="cpu", **options)


def test_under_slurm_nothing_is_loaded_that_lies_in_the_current_folder(sounds, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hpc_ckpt_1.ckpt").write_text("another run's")
    for name, value in ONE_TASK.items():
        monkeypatch.setenv(name, value)
    assert pretrain(sounds, tmp_path / "run", 1).steps == 1
    atst.finetune(
        sounds / "meta.csv", model="random:nano", out="finetuned", device="cpu",
        overrides=["max_epochs=1", "epoch_steps=1", "warmup_epochs=0", "workers=0", "precision=float32"],
    )  # fmt: skip
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "finetuned", "hpc_ckpt_1.ckpt", "run", "sounds",
    ]  # fmt: skip


def test_the_checkpoint_comes_before_what_is_watched_which_a_signal_ends(sounds, tmp_path, monkeypatch):
    out = tmp_path / "run"
    saved = []

    def measure(model):
        saved.append(sorted(path.name for path in (out / "checkpoints").iterdir()))
        if len(saved) == 1:
            return 0.25
        os.kill(os.getpid(), signal.SIGUSR1)
        time.sleep(SECONDS)
        raise AssertionError("not ended")

    monkeypatch.setattr(knn, "knn_watch", lambda task: measure)
    with pytest.raises(KeyboardInterrupt, match="Saved at step 3"):
        pretrain(sounds, out, 100, "checkpoint_steps=1", watch=sounds / "meta.csv")
    assert saved == [["step-00000001.ckpt"], ["step-00000001.ckpt", "step-00000002.ckpt"]]
    with (out / "metrics.csv").open(newline="") as file:
        assert [(row["step"], row["watch"]) for row in csv.DictReader(file)] == [
            ("0", "0.25"), ("1", ""), ("2", ""),
        ]  # fmt: skip


def test_a_signal_ends_a_validation_which_the_resumed_fine_tuning_does(sounds, tmp_path, monkeypatch):
    keys = ["max_epochs=3", "epoch_steps=2", "batch_size=4", "warmup_epochs=0", "workers=0"]
    keys += ["precision=float32", "drop_path=0"]

    def finetune(out, **more):
        given = {"model": "random:nano", "protocol": "own", "overrides": keys, "device": "cpu", "out": out}
        return atst.finetune(sounds / "meta.csv", **given, **more)

    finetune(tmp_path / "whole")
    validate, calls = Epochs._validate, []

    def interrupted(self, module):
        calls.append(len(self.history.rows))
        if len(calls) == 2:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(SECONDS)
            raise AssertionError("not ended")
        return validate(self, module)

    monkeypatch.setattr(Epochs, "_validate", interrupted)
    with pytest.raises(KeyboardInterrupt, match="Saved"):
        finetune(tmp_path / "out")
    result = finetune(tmp_path / "out", resume=True)
    assert calls == [0, 1, 1, 2]
    assert [choice.epochs for choice in result.selected] == [3]
    for name in ("model", "head"):
        one, two = (load_file(tmp_path / d / "model" / f"{name}.safetensors") for d in ("whole", "out"))
        assert all(torch.equal(one[key], two[key]) for key in one)


def test_two_tasks_on_two_nodes_train_one_run(sounds, tmp_path):
    """As far as one machine can tell: SLURM's variables name two nodes, both of which are this one."""
    keys = [*TINY, "max_steps=2", "precision=float32"]
    command = [
        sys.executable,
        "-m",
        "atst",
        "pretrain",
        sounds,
        "--out",
        tmp_path / "run",
        "--recipe",
        "nano",
    ]
    command += ["--device", "cpu", "--workers", "0", "--devices", "2"]
    command += [part for key in keys for part in ("--set", key)]
    both = {"SLURM_NTASKS": "2", "SLURM_STEP_NUM_TASKS": "2", "SLURM_STEP_NUM_NODES": "2"}
    both |= {"SLURM_JOB_ID": str(os.getpid()), "MASTER_ADDR": "127.0.0.1", "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen(
            [str(part) for part in command],
            env=os.environ | ONE_TASK | both | {"SLURM_PROCID": rank, "SLURM_NODEID": rank},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in ("0", "1")
    ]
    said = [process.communicate(timeout=240)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    assert "done: 2 steps" in said[0]
    assert said[1] == ""
    with (tmp_path / "run" / "metrics.csv").open(newline="") as file:
        assert [row["step"] for row in csv.DictReader(file)] == ["0", "1"]
    assert atst.load(tmp_path / "run").config.training["clips_seen"] == 2 * 2 * 4
