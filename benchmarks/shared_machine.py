"""What another process that keeps one core busy costs: steps of the demo, embedding, probing.

    python benchmarks/shared_machine.py [--turns 3] [--steps 40] [--policy PASSIVE|ACTIVE]
    python benchmarks/shared_machine.py --grid [--sizes nano small]

Each job is a process of its own, quiet and busy in turn; the ratio of the medians of their times counts and
should be at most 2.2. The busy process is tied to one core. `--grid` compares numbers of threads and loader
processes, and how threads wait, instead: clips a second of training, quiet / beside the busy process.
"""

import argparse
import csv
import itertools
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import soundfile

from atst.cores import cores

BATCH = {"nano": 64, "small": 8}
ATST = (sys.executable, "-m", "atst")
SPIN = """
import os
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
while True:
    pass
"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--policy", choices=("PASSIVE", "ACTIVE"))
    parser.add_argument("--grid", action="store_true")
    parser.add_argument("--sizes", nargs="+", choices=BATCH, default=list(BATCH))
    options = parser.parse_args()
    environment = os.environ | ({"OMP_WAIT_POLICY": options.policy} if options.policy else {})
    print(f"{cores()} cores\n")
    if options.grid:
        grid(options.sizes, options.steps, options.turns)
    else:
        jobs(environment, options.steps, options.turns)


def jobs(environment: dict[str, str], steps: int, turns: int) -> None:
    print("| job | quiet, s | beside a busy process, s | ratio |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_sounds(folder / "sounds")
        embed = [*ATST, "embed", str(folder / "sounds"), "--model", "random:small", "--out", f"{name}/e.npz"]
        probe = [*ATST, "probe", "synthetic", "--model", "random:nano", "--no-cache"]
        table: dict[str, Callable[[], float]] = {
            "a step of the demo": lambda: BATCH["nano"] / train("nano", steps, environment),
            "embedding": lambda: seconds(embed, environment),
            "probing": lambda: seconds(probe, environment),
        }
        for job, run in table.items():
            quiet, busy = in_turn(run, turns)
            print(f"| {job} | {quiet:.2f} | {busy:.2f} | {busy / quiet:.2f} |", flush=True)


def grid(sizes: list[str], steps: int, turns: int) -> None:
    count = cores()
    print("| size | threads wait | threads | loader processes | clips/s, quiet | beside a busy process |")
    print("|---|---|---|---|---|---|")
    for size in sizes:
        few = steps if size == "nano" else max(6, steps // 5)
        for policy, threads, workers in itertools.product(
            ("PASSIVE", "ACTIVE"),
            sorted({1, max(1, count - 1), count}),
            sorted({1, max(1, count - 1), count}),
        ):
            environment = os.environ | {"OMP_WAIT_POLICY": policy, "OMP_NUM_THREADS": str(threads)}
            quiet, busy = in_turn(lambda: train(size, few, environment, workers), turns)  # noqa: B023
            waiting = "asleep" if policy == "PASSIVE" else "in a loop"
            print(f"| {size} | {waiting} | {threads} | {workers} | {quiet:.1f} | {busy:.1f} |", flush=True)


def in_turn(run: Callable[[], float], turns: int) -> tuple[float, float]:
    """Medians of what `run` gives on its own and beside a busy process."""
    found: tuple[list[float], list[float]] = ([], [])
    for _ in range(turns):
        found[0].append(run())
        with busy_process():
            found[1].append(run())
    return statistics.median(found[0]), statistics.median(found[1])


@contextmanager
def busy_process() -> Iterator[None]:
    process = subprocess.Popen([sys.executable, "-c", SPIN])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def train(size: str, steps: int, environment: dict[str, str], workers: int = -1) -> float:
    """Clips a second of a pre-training's steps but the first five."""
    with tempfile.TemporaryDirectory() as folder:
        keys = [
            f"batch_size={BATCH[size]}",
            f"max_steps={steps}",
            f"workers={workers}",
            "checkpoint_minutes=0",
        ]
        command = [*ATST, "pretrain", "synthetic", "--out", f"{folder}/run", "--recipe", size]
        seconds(command + [part for key in keys for part in ("--set", key)], environment)
        with Path(folder, "run", "metrics.csv").open(newline="") as file:
            speeds = [float(row["clips_per_second"]) for row in csv.DictReader(file)][5:]
    return statistics.harmonic_mean(speeds)


def seconds(command: list[str], environment: dict[str, str]) -> float:
    start = time.monotonic()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    return time.monotonic() - start


def write_sounds(folder: Path) -> None:
    """A hundred recordings of ten seconds."""
    folder.mkdir()
    for i in range(100):
        noise = np.random.default_rng(i).normal(0, 0.1, 160_000)
        soundfile.write(folder / f"{i}.wav", noise, 16_000)


if __name__ == "__main__":
    main()
