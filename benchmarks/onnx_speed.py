"""A clip through PyTorch and through ONNX Runtime, turn by turn, so that other work weighs on both alike.

    python benchmarks/onnx_speed.py [--models M ...] [--seconds 1 10] [--threads 1] [--turns 30]

Prints for each the least time in ms and, in brackets, the median of the processor time of all threads, which
other work disturbs less; then their ratios to PyTorch's.
"""

import argparse
import os
import time
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from atst.cores import wait_passively

RATE = 16000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", default=["random:nano", "random:conv-nano"])
    parser.add_argument("--seconds", nargs="+", type=float, default=[1.0, 10.0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--turns", type=int, default=30)
    given = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(given.threads)  # of both; before PyTorch is imported
    wait_passively()  # as the commands do
    import torch

    import atst
    import atst.onnx
    from atst.model.export import export

    torch.set_num_threads(given.threads)
    sounds = [
        np.random.default_rng(0).normal(0, 0.1, int(s * RATE)).astype(np.float32) for s in given.seconds
    ]
    print(
        "| model | clip, s | threads | PyTorch, ms | ONNX, ms | int8, ms | ONNX : PyTorch | int8 : PyTorch |"
    )
    print("|---|---|---|---|---|---|---|---|")
    with TemporaryDirectory() as folder:
        for name in given.models:
            model = atst.load(name)
            models = [model]
            for int8 in (False, True):
                path = export(model, Path(folder) / f"int8-{int8}.onnx", sounds[:1], int8=int8).path
                models.append(atst.onnx.load(path))
            for sound in sounds:
                calls = [partial(each.embed, sound, sample_rate=RATE) for each in models]
                times = timed(calls, given.turns)
                cells = [f"{1000 * least:.1f} ({1000 * work:.1f})" for least, work in times]
                cells += ["{:.2f} ({:.2f})".format(*row) for row in times[1:] / times[0]]
                print(
                    f"| {name} | {len(sound) / RATE:g} | {given.threads} | {' | '.join(cells)} |", flush=True
                )


def timed(calls: list, turns: int) -> np.ndarray:
    """Least seconds of each call and its median of processor time, `(calls, 2)`."""
    times = np.zeros((turns, len(calls), 2))
    for turn in range(-2, turns):
        for number, call in enumerate(calls):
            start = np.array([time.perf_counter(), time.process_time()])
            call()
            if turn >= 0:
                times[turn, number] = np.array([time.perf_counter(), time.process_time()]) - start
    return np.stack([times[:, :, 0].min(0), np.median(times[:, :, 1], 0)], 1)


if __name__ == "__main__":
    main()
