"""Both generations of the authors' protocols from end to end, on a miniature of each of their data sets."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import soundfile
from trees import TREES

import atst
from atst.finetuning import recipe as recipes
from atst.finetuning.module import FinetuningModule

ALL = [(protocol, task) for protocol in ("paper", "authors2023") for task in recipes.known_tasks(protocol)]
SAMPLE = [("paper", "spcv2"), ("authors2023", "audioset2m"), ("authors2023", "us8k")]
SMALL = [
    "batch_size=8",
    "accumulate=2",
    "max_epochs=3",
    "epoch_steps=3",
    "workers=0",
    "checkpoint_minutes=1e-6",
]


def tree_of(task, folder):
    (folder / "tree").mkdir()
    TREES[task](folder / "tree")
    return folder / "tree"


def run(task, tree, out, protocol, **options):
    """With what the protocol says, but for sizes; of folds one."""
    fold = 1 if task == "us8k" else None
    options = {"model": "random:nano", "device": "cpu", "fold": fold} | options
    return atst.finetune(task, data=tree, out=out, protocol=protocol, overrides=SMALL, **options)


def check(result, protocol, task, out):
    assert (result.protocol, result.generation) == (protocol, recipes.GENERATIONS[protocol])
    assert (result.pooling, result.settings["drop_path"], result.precision) == ("published", 0.1, "float32")
    [choice] = result.selected
    assert choice.epochs == 3
    if protocol == "authors2023":
        assert choice.epoch == 3
        assert result.selected_on.startswith("nothing")
    assert result.metric == ("mAP" if task.startswith(("audioset", "fsd50k")) else "accuracy")
    assert 0 <= result.value <= 1
    classifier = atst.load_classifier(out)
    assert classifier.features == {
        "layers": 1,
        "pooling": "published",
        "levels": "blocks",
        "clip_seconds": 12.0,
    }
    noise = np.random.default_rng(0).normal(0, 0.1, 14 * 16000)
    soundfile.write(out / "long.wav", noise, 16000)
    atst.predict([out / "long.wav"], model=out, out=out / "long.jsonl")
    row = json.loads((out / "long.jsonl").read_text())
    scores = classifier.predict(out / "long.wav")
    if not classifier.multi_label:
        assert row["score"] == pytest.approx(max(scores.values()), abs=1e-5)
    plain = dataclasses.replace(classifier, features=classifier.features | {"pooling": "mean"})
    assert plain.predict(out / "long.wav") != pytest.approx(scores, rel=1e-5, abs=0)  # what predict used


def same_model(one, other):
    for name in ("model.safetensors", "head.safetensors"):
        assert (one / "model" / name).read_bytes() == (other / "model" / name).read_bytes()


@pytest.mark.parametrize(("protocol", "task"), SAMPLE)
def test_a_generation_is_stopped_and_goes_on(protocol, task, tmp_path, monkeypatch):
    tree = tree_of(task, tmp_path)
    whole = run(task, tree, tmp_path / "whole", protocol)
    check(whole, protocol, task, tmp_path / "whole")
    step, count = FinetuningModule.training_step, iter(range(100))

    def interrupted(self, *arguments):
        if next(count) == 9:
            raise RuntimeError("the power went")
        return step(self, *arguments)

    monkeypatch.setattr(FinetuningModule, "training_step", interrupted)
    with pytest.raises(RuntimeError, match="the power went"):
        run(task, tree, tmp_path / "out", protocol)
    monkeypatch.undo()
    resumed = run(task, tree, tmp_path / "out", protocol, resume=True)
    assert resumed.selected == whole.selected
    same_model(tmp_path / "whole", tmp_path / "out")


@pytest.mark.full
@pytest.mark.parametrize(("protocol", "task"), ALL)
def test_every_task_of_a_generation_is_killed_and_goes_on(protocol, task, tmp_path):
    tree, out = tree_of(task, tmp_path), tmp_path / "out"
    whole = run(task, tree, tmp_path / "whole", protocol)
    check(whole, protocol, task, tmp_path / "whole")
    command = [sys.executable, "-m", "atst", "finetune", task, "--data", tree, "--out", out]
    command += ["--model", "random:nano", "--device", "cpu", "--protocol", protocol]
    command += [part for key in SMALL for part in ("--set", key)] + (
        ["--fold", "1"] if task == "us8k" else []
    )
    alone = os.environ | {"OMP_NUM_THREADS": "1"}  # as here, so that it computes the same bits
    with subprocess.Popen([str(part) for part in command], stderr=subprocess.PIPE, env=alone) as process:
        while not list(out.glob("training/*/checkpoints/*.ckpt")):
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert not (out / "results.json").exists()
    resumed = run(task, tree, out, protocol, resume=True)
    assert (resumed.selected, resumed.calibration) == (whole.selected, whole.calibration)
    same_model(tmp_path / "whole", out)
