"""The public command on two gloo processes equals one process with the same batches."""

import csv
import json
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
from tones import tone

SHORT = ("batch_size=8", "epoch_steps=3", "max_epochs=2", "warmup_epochs=1", "select=last", "workers=0")
SHORT += ("precision=float32", "drop_path=0")  # draws of stochastic depth are each process's own


def arguments(table, out, *more):
    given = [sys.executable, "-m", "atst", "finetune", table, "--model", "random:nano", "--out", out]
    given += ["--device", "cpu", *(part for key in SHORT for part in ("--set", key)), *more]
    return [str(part) for part in given]


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    folder = tmp_path_factory.mktemp("devices")
    rows = ["path,label,fold"]
    for i in range(24):
        soundfile.write(folder / f"{i}.wav", tone(400 + 2000 * (i % 2), seed=i), 16000)
        rows.append(f"{i}.wav,{'low' if i % 2 == 0 else 'high'},{i // 2 % 2}")
    (folder / "meta.csv").write_text("\n".join(rows) + "\n")
    return folder / "meta.csv"


@pytest.fixture(scope="module")
def runs(table):
    """The folder of one process, and of two processes with half a batch each."""
    folder, found = table.parent, {}
    for name, more in (("one", []), ("two", ["--devices", "2"])):
        given = arguments(table, folder / name, *more)
        found[name] = subprocess.run(given, capture_output=True, text=True, timeout=300)
        assert found[name].returncode == 0, found[name].stderr
    return folder, found


def metrics(folder):
    """Training losses of both folds and of the training on all clips."""
    files = sorted(folder.glob("training/*/metrics.csv"))
    assert len(files) == 3
    return [float(row["train_loss"]) for path in files for row in csv.DictReader(path.open())]


def test_two_processes_train_the_weights_that_one_trains(runs):
    folder, _ = runs
    for file in ("model.safetensors", "head.safetensors"):  # BatchNorm is part of the head
        one, two = (load_file(folder / name / "model" / file) for name in ("one", "two"))
        for key, value in one.items():
            torch.testing.assert_close(two[key], value, atol=1e-5, rtol=1e-5, msg=key)


def test_the_training_loss_is_that_of_all_processes(runs):
    folder, _ = runs
    np.testing.assert_allclose(metrics(folder / "two"), metrics(folder / "one"), rtol=1e-4)


def test_every_test_clip_is_predicted_once_and_one_process_writes_and_speaks(runs):
    folder, found = runs
    with (folder / "two" / "predictions.csv").open(newline="") as file:
        assert sorted(row["path"] for row in csv.DictReader(file)) == sorted(f"{i}.wav" for i in range(24))
    result = json.loads((folder / "two" / "results.json").read_text())
    assert [choice["clips"] for choice in result["selected"]] == [{"train": 12, "valid": 0, "test": 12}] * 2
    assert found["two"].stdout.count("meta.csv: accuracy ") == 1
    assert found["two"].stderr.count("all: epoch 2/2") == 1
    assert found["two"].stderr.count("reading ") <= found["one"].stderr.count("reading ")
    assert list((folder / "two").rglob("*.tmp")) == []


@pytest.mark.full
def test_ctrl_c_stops_both_processes_with_one_message_and_resume_ends_in_the_same_weights(table, tmp_path):
    whole, out = tmp_path / "whole", tmp_path / "out"
    more = ("--devices", "2", "--fold", "0", "--set", "max_epochs=8")
    subprocess.run(arguments(table, whole, *more), check=True, capture_output=True, timeout=300)
    given = arguments(table, out, *more)
    with subprocess.Popen(given, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        while not (out / "training" / "fold-0" / "metrics.csv").exists():
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGINT)
        said = process.communicate(timeout=120)[1]
    assert process.returncode == 130, said
    assert "Traceback" not in said, said
    assert said.count("stopping after this step and saving") == 1
    assert said.count("Saved; the same command with --resume continues.") == 1
    assert list((out / "training" / "fold-0" / "checkpoints").glob("step-*.ckpt"))
    subprocess.run([*given, "--resume"], check=True, capture_output=True, timeout=300)
    for name in ("model", "head"):
        one, two = (load_file(folder / "model" / f"{name}.safetensors") for folder in (whole, out))
        assert one.keys() == two.keys()
        assert all(torch.equal(one[key], two[key]) for key in one)
