"""`atst pretrain` as a user meets it: names of files, kinds of arguments, signals."""

import csv
import os
import resource
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import soundfile

import atst
from atst import cli
from atst.training import precision

TINY = ["batch_size=4", "segment_seconds=0.3", "min_seconds=0.2", "warmup_steps=1", "checkpoint_minutes=0"]
KEYS = [*TINY, "precision=float32", "max_steps=2"]
OPTIONS = {"recipe": "nano", "overrides": KEYS, "workers": 0, "device": "cpu"}


@pytest.fixture
def sounds(tmp_path):
    """Four short noises."""
    folder = tmp_path / "sounds"
    folder.mkdir()
    for i in range(4):
        soundfile.write(folder / f"{i}.wav", np.random.default_rng(i).normal(0, 0.1, 16000), 16000)
    return folder


def test_names_that_are_not_utf8(sounds):
    try:
        (sounds / "0.wav").rename(sounds / os.fsdecode(b"caf\xe9.wav"))
    except OSError:
        pytest.skip("this file system takes only names in UTF-8")
    silent = os.fsdecode(b"\xe9.wav")
    soundfile.write(sounds / "silent.wav", np.zeros(16000), 16000)
    (sounds / "silent.wav").rename(sounds / silent)
    out = sounds.parent / "run"
    result = atst.pretrain([sounds], out=out, **OPTIONS)
    assert result.unreadable == 1
    with (out / "errors.csv").open(newline="", encoding="utf-8") as file:
        assert [row[0] for row in csv.reader(file)] == ["path", str(sounds / r"\udce9.wav")]


def test_a_quiet_run_says_what_came_of_it(sounds, capsys):
    (sounds / "broken.wav").write_bytes(b"broken")
    atst.pretrain([sounds], out=sounds.parent / "run", quiet=True, **OPTIONS)
    left_out, done = capsys.readouterr().err.splitlines()
    assert left_out.startswith("1 files left out")
    assert done.startswith("done: 2 steps")


def test_paths_may_be_text(sounds):
    out = str(sounds.parent / "run")
    assert atst.pretrain(str(sounds), out=out, **OPTIONS).steps == 2
    assert atst.pretrain(str(sounds), out=out, resume=True, device="cpu").steps == 2
    with pytest.raises(atst.UsageError, match="not an empty folder"):
        atst.pretrain(str(sounds), out=out, **OPTIONS)
    with pytest.raises(atst.UsageError, match="its encoder is 'tiny'"):
        atst.pretrain(str(sounds), out=out + "2", init="random:tiny", **OPTIONS)


def test_the_faster_precision_is_decided_once_and_kept(sounds, monkeypatch, capsys):
    out, options = (
        sounds.parent / "run",
        OPTIONS | {"overrides": [*TINY, "max_steps=2", "checkpoint_steps=1"]},
    )
    monkeypatch.setattr(precision, "seconds", lambda word, *_: {"float32": 2.0, "bf16": 1.0}[word])
    atst.pretrain([sounds], out=out, **options)
    assert "nano encoder" in (said := capsys.readouterr().err)
    assert "; bf16, 1 thread and 0 loader processes\n" in said
    assert "precision: bf16\n" in (out / "recipe.yaml").read_text()
    (out / "checkpoints" / "step-00000002.ckpt").unlink()
    monkeypatch.setattr(precision, "seconds", lambda word, *_: {"float32": 1.0, "bf16": 9.0}[word])
    atst.pretrain([sounds], out=out, resume=True, **options)
    said = capsys.readouterr().err
    assert "bf16 is 9 times slower than float32" in said
    assert "; bf16, 1 thread and 0 loader processes\n" in said
    assert "precision: bf16\n" in (out / "recipe.yaml").read_text()
    with pytest.raises(atst.UsageError, match=r"precision \(bf16 -> float32\)"):
        atst.pretrain([sounds], out=out, resume=True, recipe=None, overrides=["precision=32"], device="cpu")


def test_a_disk_that_takes_no_more(sounds):
    out = sounds.parent / "run"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5_000_000, hard))
    try:
        with pytest.raises(atst.TrainingError, match=r"run: File too large\. .* --resume"):
            atst.pretrain([sounds], out=out, **OPTIONS)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list((out / "checkpoints").iterdir()) == []
    assert atst.pretrain([sounds], out=out, resume=True, device="cpu").steps == 2


@pytest.mark.parametrize(
    ("task", "given", "line"),
    [
        ("esc10", ["--watch-data", "."], "; --watch-data is the folder that holds it."),
        ("esc10", [], "give --watch-data DIR, or"),
        ("meta.csv", ["--watch-data", "."], "--watch-data . is for registered tasks"),
    ],
)
def test_a_wrong_folder_of_the_watched_task_is_named_by_its_option(
    sounds, capsys, monkeypatch, task, given, line
):
    monkeypatch.delenv("ATST_DATA", raising=False)
    with pytest.raises(SystemExit) as exit:
        cli.main(["pretrain", str(sounds), "--out", str(sounds.parent / "run"), "--watch", task, *given])
    assert exit.value.code == 2
    assert line in capsys.readouterr().err


def process(sounds, out, *more):
    """A run of many steps in a process group of its own, as a terminal makes it."""
    keys = [*KEYS, "max_steps=100000", "seed=1"]
    command = ["pretrain", str(sounds), "--out", str(out), "--recipe", "nano", "--device", "cpu", *more]
    command += [part for key in keys for part in ("--set", key)]
    return subprocess.Popen(
        [sys.executable, "-m", "atst", *command], stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def wait_for(process, condition):
    while not condition():
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("number", "twice"),
    [
        pytest.param(signal.SIGINT, True, marks=pytest.mark.full),
        pytest.param(signal.SIGTERM, False, marks=pytest.mark.full),
        (signal.SIGUSR1, True),
    ],
)
def test_a_signal_to_the_group_saves_and_says_how_to_go_on(sounds, number, twice):
    out = sounds.parent / "run"
    run = process(sounds, out, "--workers", "1")
    wait_for(run, (out / "metrics.csv").exists)
    if twice:  # `timeout` does so
        os.kill(run.pid, number)
    os.killpg(run.pid, number)
    _, said = run.communicate(timeout=60)
    assert run.returncode == 128 + number, said
    assert "Traceback" not in said
    assert said.splitlines()[-1].startswith("atst: error: interrupted. Saved at step ")
    assert said.endswith("the same command with --resume continues.\n")
    assert "Lightning" not in said
    assert "GPU available" not in said
    assert len(list((out / "checkpoints").iterdir())) == 1
    assert list(out.rglob("*.tmp")) == []


@pytest.mark.parametrize(
    "number",
    [signal.SIGINT, *(pytest.param(n, marks=pytest.mark.full) for n in (signal.SIGTERM, signal.SIGUSR1))],
)
def test_a_signal_before_the_first_step_is_one_line(sounds, number):
    out = sounds.parent / "run"
    run = process(sounds, out, "--workers", "0")
    wait_for(run, (out / "recipe.yaml").exists)
    run.send_signal(number)
    _, said = run.communicate(timeout=60)
    assert run.returncode == 128 + number, said
    assert "Traceback" not in said
    assert said.splitlines()[-1].startswith("atst: error: interrupted. ")
    assert "--resume" in said
