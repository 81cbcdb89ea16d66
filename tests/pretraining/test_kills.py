"""A run that is killed at any moment leaves what it had saved, and ends bit for bit like one that was not."""

import csv
import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

import atst
from atst.training import checkpoints

STEPS, EVERY, KEPT = 4, 2, 1
KEYS = [f"max_steps={STEPS}", f"checkpoint_steps={EVERY}", f"keep_checkpoints={KEPT}", "checkpoint_minutes=0"]
KEYS += ["batch_size=4", "accumulate=2", "segment_seconds=0.3", "min_seconds=0.2", "warmup_steps=2"]
KEYS += ["precision=bf16"]
PHASES = ("saving", "exporting", "reporting", "training")
KILLS = 20
QUICK = 3  # of them in `make test`: one while saving, one while exporting, one while reporting


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Runs a training in a process of its own, killed or not: its exit code and the lengths of its phases."""
    sounds = tmp_path_factory.mktemp("sounds")
    for i in range(12):
        soundfile.write(sounds / f"{i:02}.wav", np.random.default_rng(i).standard_normal(16000) * 0.1, 16000)
    server = subprocess.Popen(
        [sys.executable, Path(__file__).with_name("kill_server.py")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )

    def train(out, workers=0, resume=False, **kill):
        options = {"out": str(out), "recipe": "nano", "overrides": KEYS, "device": "cpu"}
        job = {"sources": [str(sounds)], "options": options | {"workers": workers, "resume": resume}}
        server.stdin.write(json.dumps(job | kill) + "\n")
        server.stdin.flush()
        return json.loads(server.stdout.readline())

    yield train
    server.stdin.close()
    server.wait(timeout=60)


@pytest.fixture(scope="module")
def whole(runs, tmp_path_factory):
    """The folder of a run that nothing interrupts, and how long its phases take."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    code, lengths = runs(out)
    assert code == 0
    assert lengths.keys() == set(PHASES)
    return out, lengths


@pytest.mark.parametrize(
    "number", [i if i < QUICK else pytest.param(i, marks=pytest.mark.full) for i in range(KILLS)]
)
def test_a_run_killed_at_a_random_moment(runs, whole, tmp_path, number):
    expected, lengths = whole
    out = tmp_path / "run"
    rng = np.random.default_rng(number)
    phase = PHASES[number % len(PHASES)]
    call = int(rng.integers(STEPS * 2 if phase == "training" else STEPS // EVERY))
    workers = int(number >= len(PHASES) and rng.random() < 0.3)
    code, _ = runs(out, workers, phase=phase, call=call, seconds=rng.random() * lengths[phase])
    assert code == -signal.SIGKILL
    saved = call // 2 // EVERY if phase == "training" else call + (phase == "reporting")
    assert_complete(out, saved * EVERY)
    code, _ = runs(out, resume=True)
    assert code == 0
    assert_same(out, expected)


def assert_complete(out, exported):
    """Model, checkpoints, metrics and report are whole; the model is of step `exported` or the save after."""
    if exported:
        model = atst.load(out)
        assert model.config.training["steps"] in (exported, exported + EVERY)
        assert model.embed(np.ones(8000, np.float32), sample_rate=16000).shape == (model.embedding_size,)
    newest = checkpoints.newest(out)
    steps = 0 if newest is None else checkpoints.read_state(newest)["step"]
    assert steps in (exported, exported + EVERY)
    if (out / "metrics.csv").exists():
        lines = (out / "metrics.csv").read_text().splitlines(keepends=True)
        whole_lines = [line for line in lines[1:] if line.endswith("\n")]
        assert [int(line.split(",")[0]) for line in whole_lines] == list(range(len(whole_lines)))
        assert len(whole_lines) >= steps
    if (out / "report.html").exists():
        assert reported_steps(out) == atst.load(out).config.training["steps"]


def assert_same(out, expected):
    """The run ended as one that was never interrupted, and nothing else is left."""
    first, second = (
        torch.load(checkpoints.newest(folder), weights_only=True)["state_dict"] for folder in (out, expected)
    )
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert atst.load(out).fingerprint == atst.load(expected).fingerprint
    assert rows(out) == rows(expected)
    assert reported_steps(out) == STEPS
    assert names(out) == names(expected)


def rows(folder):
    """What `metrics.csv` says of each step but its speed."""
    with (folder / "metrics.csv").open(newline="") as file:
        speed = ("clips_per_second", "share_of_peak")
        return [{k: v for k, v in row.items() if k not in speed} for row in csv.DictReader(file)]


def reported_steps(folder):
    text = (folder / "report.html").read_text()
    assert text.endswith("</html>\n")
    return int(re.search(r"(\d+) of \d+ steps", text)[1])


def names(folder):
    """All files but TensorBoard's, of which each start has one."""
    found = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    return {name for name in found if not name.startswith("tensorboard/")}
