"""Pre-training that `torchrun` starts: the weights of one process, and a resumption on other numbers of
processes and machines, or with networks divided over them."""

import csv
import os
import socket
import subprocess
import sys
from shutil import copytree

import numpy as np
import pytest
import soundfile
import torch

import atst
from atst.errors import UsageError
from atst.training.loader import BatchPositions

STEPS, CLIPS = 20, 8  # of a step
KEYS = [
    *("segment_seconds=0.3", "min_seconds=0.2", "precision=float32", f"max_steps={STEPS}", "warmup_steps=5"),
    *("checkpoint_minutes=0", "checkpoint_steps=10", "keep_checkpoints=3", "learning_rate=1e-3"),
    # What the processes draw, or keep, each for itself: stochastic depth and the earlier clips of mixup.
    *("drop_path=0", "mixup=false"),
]
SCRIPT = """
import sys
from pathlib import Path
import fsspec
from atst.cli import main
for path in Path(sys.argv[1]).iterdir():
    fsspec.filesystem("memory").pipe(f"/bucket/corpus/{path.name}", path.read_bytes())
main(sys.argv[2:])
"""


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Thirty short noises, packed."""
    folder = tmp_path_factory.mktemp("sounds")
    for number in range(30):
        noise = np.random.default_rng(number).normal(0, 0.1, 8000 + 400 * number)
        soundfile.write(folder / f"{number:02}.wav", noise, 16000, subtype="PCM_16")
    atst.pack([folder], out=folder / "corpus", quiet=True)
    return folder / "corpus"


@pytest.fixture(scope="module")
def one(corpus, tmp_path_factory):
    """The run of one process."""
    out = tmp_path_factory.mktemp("runs") / "one"
    keys = [*KEYS, f"batch_size={CLIPS}"]
    atst.pretrain([corpus], out=out, recipe="nano-paper", overrides=keys, workers=0, device="cpu")
    return out


def launch(program, source, out, batch, *options, launchers=("--standalone --nproc-per-node=2",)):
    """Exit codes and messages of `torchrun`, once for each of `launchers`."""
    command = [*program, "pretrain", str(source), "--out", str(out), "--recipe", "nano-paper"]
    command += ["--device", "cpu", "--devices", "2", "--workers", "1", *options]
    command += [part for key in [*KEYS, f"batch_size={batch}"] for part in ("--set", key)]
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "torch.distributed.run", *given.split(), *command],
            env=os.environ | {"OMP_NUM_THREADS": "1"}, stderr=subprocess.PIPE, text=True,
        )
        for given in launchers
    ]  # fmt: skip
    said = [process.communicate(timeout=500)[1] for process in started]
    return [process.returncode for process in started], "".join(said)


def assert_same(run, other):
    """Equal up to the order of sums in float32, whose differences AdamW makes larger from step to step."""
    for name in ("loss", "padding", "differing"):
        np.testing.assert_allclose(column(run, name), column(other, name), atol=5e-3, err_msg=name)
    np.testing.assert_allclose(column(run, "loss")[:2], column(other, "loss")[:2], atol=2e-5)
    before, after, other_after = weights(other, STEPS // 2), weights(run, STEPS), weights(other, STEPS)
    moved, apart = (other_after - before).norm(), (after - other_after).norm()
    assert apart < 0.05 * moved, (apart, moved)


def weights(run, step):
    state = torch.load(run / "checkpoints" / f"step-{step:08}.ckpt", weights_only=True)["state_dict"]
    return torch.cat([value.flatten() for key, value in state.items() if key.startswith("pair.student.")])


def column(run, name):
    with (run / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == list(range(STEPS))
    return [float(row[name]) for row in rows]


@pytest.fixture(scope="module")
def two(corpus, tmp_path_factory):
    """The run of two processes, each with a loader process, that read the corpus from object storage."""
    folder = tmp_path_factory.mktemp("two")
    (folder / "script.py").write_text(SCRIPT)
    program = [str(folder / "script.py"), str(corpus)]
    codes, said = launch(program, "memory://bucket/corpus", folder / "run", CLIPS // 2)
    assert codes == [0], said
    assert said.count(f"done: {STEPS} steps") == 1, said
    return folder / "run"


@pytest.mark.full
def test_two_processes_equal_one_and_read_shards_from_object_storage(one, two):
    assert_same(two, one)


@pytest.mark.full
@pytest.mark.parametrize("processes", [1, 2])
def test_a_resumption_on_others_goes_on_at_the_next_clip(corpus, one, two, tmp_path, processes):
    run = tmp_path / "run"
    copytree(one if processes == 2 else two, run)
    (run / "checkpoints" / f"step-{STEPS:08}.ckpt").unlink()
    if processes == 1:
        keys = [*KEYS, f"batch_size={CLIPS}"]
        options = {"recipe": "nano-paper", "overrides": keys, "workers": 2, "device": "cpu"}
        atst.pretrain([corpus], out=run, resume=True, **options)
    else:  # each on a machine of its own, as far as torchrun knows
        where = f"--nnodes=2 --nproc-per-node=1 --master-addr=127.0.0.1 --master-port={free_port()}"
        launchers = [f"{where} --node-rank={rank}" for rank in (0, 1)]
        codes, said = launch(["-m", "atst"], corpus, run, CLIPS // 2, "--resume", launchers=launchers)
        assert codes == [0, 0], said
        assert said.count("devices changed from 1 x cpu") == 1, said
    assert_same(run, one)


@pytest.fixture(scope="module")
def divided(corpus, tmp_path_factory):
    """The run of two processes, each with a part of the networks."""
    out = tmp_path_factory.mktemp("divided") / "run"
    codes, said = launch(["-m", "atst"], corpus, out, CLIPS // 2, "--set", "sharded=true")
    assert codes == [0], said
    return out


@pytest.mark.full
def test_a_divided_run_writes_what_a_run_of_copies_writes(two, divided):
    assert_as_copies(divided, two)


@pytest.mark.full
@pytest.mark.parametrize("sharded", ["true", "false"])
def test_a_resumption_may_divide_copies_and_put_parts_together(corpus, two, divided, tmp_path, sharded):
    run = tmp_path / "run"
    copytree(two if sharded == "true" else divided, run)
    (run / "checkpoints" / f"step-{STEPS:08}.ckpt").unlink()
    options = ["--resume", "--set", f"sharded={sharded}"]
    codes, said = launch(["-m", "atst"], corpus, run, CLIPS // 2, *options)
    assert codes == [0], said
    assert said.count("sharded changed from") == 1, said
    assert_as_copies(run, two)


def assert_as_copies(run, two):
    """The same losses, checkpoint and model: two processes add the same two numbers either way."""
    np.testing.assert_allclose(column(run, "loss"), column(two, "loss"), rtol=1e-5)
    mine, other = (
        torch.load(folder / "checkpoints" / f"step-{STEPS:08}.ckpt", weights_only=True)
        for folder in (run, two)
    )
    assert mine.keys() == other.keys()
    torch.testing.assert_close(mine["state_dict"], dict(other["state_dict"]), atol=1e-5, rtol=0)
    torch.testing.assert_close(mine["optimizer_states"], other["optimizer_states"], atol=1e-5, rtol=1e-3)
    sound = np.random.default_rng(0).normal(0, 0.1, 16000)
    embedded = [atst.load(folder).embed(sound, sample_rate=16000) for folder in (run, two)]
    np.testing.assert_allclose(*embedded, atol=1e-4)


def test_a_resumption_with_another_number_of_clips_a_step_is_refused(corpus, tmp_path):
    how = {"recipe": "nano-paper", "workers": 0, "device": "cpu", "resume": True}
    keys = [*KEYS, "max_steps=1"]
    atst.pretrain([corpus], out=tmp_path / "run", overrides=[*keys, "batch_size=4"], **how)
    says = r"--resume: the run takes 4 clips a step; batch_size=2 x accumulate=1 x --devices 1 are 2\. Change"
    with pytest.raises(UsageError, match=says):
        atst.pretrain([corpus], out=tmp_path / "run", overrides=[*keys, "batch_size=2"], **how)
    again = [*keys, "batch_size=2", "accumulate=2"]
    assert atst.pretrain([corpus], out=tmp_path / "run", overrides=again, **how).steps == 1


@pytest.mark.parametrize(("devices", "batch", "accumulate"), [(1, 8, 1), (2, 4, 1), (4, 1, 2), (1, 2, 4)])
def test_a_step_takes_the_same_positions_whoever_loads_them(devices, batch, accumulate):
    done = 5
    streams = [iter(BatchPositions(batch, done * accumulate, rank, devices)) for rank in range(devices)]
    positions = [position for _ in range(accumulate) for stream in streams for position in next(stream)]
    assert positions == list(range(done * CLIPS, (done + 1) * CLIPS))


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]
