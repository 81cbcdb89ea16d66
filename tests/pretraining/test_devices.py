"""Two gloo processes, with a copy or a part of the networks each, equal one process with the same global
batch, and list the clips of both."""

import csv
import os
import socket
import subprocess
import sys

import numpy as np
import pytest
import soundfile
import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh

from atst.pretraining.method import TeacherStudent
from atst.training.sharding import own, whole

BATCH, FRAMES = 8, 40
KINDS = {  # steps and network; stochastic depth and dropped tokens are drawn for the clips of all processes
    "patches": (3, {"drop_path": 0.2}),
    "conv": (
        20,
        {"stem": "conv", "projector_input": "statistics", "objective": "infonce", "token_drop": 0.5},
    ),
    "frame": (20, {"stem": "frame", "local_weight": 1.0, "drop_path": 0.2}),
    "both": (20, {"local_weight": 0.5, "drop_path": 0.2}),
    "lengths": (20, {"drop_path": 0.2}),  # two views of their own, so two passes through each encoder
}


def train(rank, world, path, kind, sharded=False):
    steps, network = KINDS[kind]
    torch.set_num_threads(1)
    torch.manual_seed(rank if sharded else 0)  # those of the first process count
    pair = TeacherStudent("nano", **network).double()  # in float32 Adam blows rounding up
    if sharded:
        pair.shard(init_device_mesh("cpu", (world,)))
    optimiser = torch.optim.AdamW(pair.parameter_groups(), lr=1e-3, eps=1e-6)
    chance = torch.Generator().manual_seed(1)
    views = torch.randn(steps, 2, BATCH, 64, FRAMES, generator=chance).double()
    masks = torch.rand(steps, BATCH, FRAMES // 4, generator=chance) < torch.rand(BATCH, 1, generator=chance)
    losses = []
    for step in range(steps):
        torch.manual_seed(step)
        share, masked = views[step].chunk(world, dim=1)[rank], masks[step].chunk(world)[rank]
        second = share[1, ..., : FRAMES - 8] if kind == "lengths" else share[1]
        loss, _ = pair.loss(share[0], second, masked=masked if pair.local_weight else None)
        optimiser.zero_grad()
        loss.backward()
        loss = loss.detach()
        if world > 1:
            dist.all_reduce(loss)
            loss /= world
        if world > 1 and not sharded:  # what DistributedDataParallel does
            for parameter in pair.parameters():
                if parameter.grad is not None:
                    dist.all_reduce(parameter.grad)
                    parameter.grad /= world
        optimiser.step()
        pair.update_teacher(0.9)
        losses.append(loss)
    moments = [value for state in optimiser.state.values() for value in state.values() if value.ndim]
    numbers = torch.tensor(sum(own(value).numel() for value in [*pair.parameters(), *moments]))
    if world > 1:
        dist.all_reduce(numbers, dist.ReduceOp.MAX)
    state = whole(pair.state_dict())
    if rank == 0:
        torch.save({"losses": torch.stack(losses), "state": state, "numbers": numbers}, path)


@pytest.mark.parametrize(
    "kind", ["patches", *(pytest.param(kind, marks=pytest.mark.full) for kind in list(KINDS)[1:])]
)
def test_two_processes_equal_one(tmp_path, kind):
    port = str(_free_port())
    processes = [
        subprocess.Popen([sys.executable, __file__, str(rank), port, str(tmp_path), kind]) for rank in (0, 1)
    ]
    assert [process.wait(timeout=300) for process in processes] == [0, 0]
    train(0, 1, tmp_path / "one.pt", kind)
    names = ("one", "copies", "parts")
    one, copies, parts = (torch.load(tmp_path / f"{name}.pt", weights_only=True) for name in names)
    for two in (copies, parts):
        torch.testing.assert_close(two["losses"], one["losses"], atol=1e-9, rtol=0)
        assert two["state"].keys() == one["state"].keys()
        for key, value in one["state"].items():
            torch.testing.assert_close(two["state"][key], value, atol=1e-7, rtol=0, msg=key)
    assert copies["numbers"] == one["numbers"]  # weights and moments
    assert one["numbers"] / 2 <= parts["numbers"] < 0.52 * one["numbers"]


@pytest.mark.full
def test_clips_that_any_process_could_not_use_are_listed_once(tmp_path):
    silent = [f"{i}.wav" for i in range(0, 8, 2)]
    for i in range(8):
        noise = np.random.default_rng(i).standard_normal(8000) * (i % 2)
        soundfile.write(tmp_path / f"{i}.wav", noise * 0.1, 16000)
    keys = ["batch_size=2", "max_steps=2", "segment_seconds=0.3", "min_seconds=0.2", "workers=0"]
    given = [sys.executable, "-m", "atst", "pretrain", str(tmp_path), "--out", str(tmp_path / "run")]
    given += ["--recipe", "nano", "--device", "cpu", "--devices", "2"]
    given += [part for key in keys for part in ("--set", key)]
    single = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(given, capture_output=True, text=True, timeout=300, check=False, env=single)
    assert done.returncode == 0, done.stderr
    with (tmp_path / "run" / "errors.csv").open(newline="") as file:
        listed = [row[0].rsplit("/", 1)[-1] for row in list(csv.reader(file))[1:]]
    assert sorted(listed) == silent  # the run is one epoch, so it met them all


def _free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


if __name__ == "__main__":
    rank, port, folder, kind = sys.argv[1:]
    dist.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=int(rank), world_size=2)
    train(int(rank), 2, f"{folder}/copies.pt", kind)
    train(int(rank), 2, f"{folder}/parts.pt", kind, sharded=True)
    dist.destroy_process_group()
    sys.stdout.flush()
    # PyTorch's threads now and then abort the end of the interpreter on a busy machine
    os._exit(0)
