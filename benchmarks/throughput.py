"""Clips a second of a training step by size, segment length and precision, with its arithmetic.

    python benchmarks/throughput.py [--segments 1.5 6] [--sizes nano tiny small base] [--device auto]
                                    [--threads 2] [--batch N] [--seconds 2] [--peak TFLOPS]

A step is what a run does with views that are there already: loss, backward pass, AdamW, teacher. Loading
and augmentation come on top (`benchmarks/views.py`, `benchmarks/decode.py`). Precisions take turns; the
fastest step of `--seconds` each counts. `--clock cpu` with `--threads 1` is the fair measure on a busy
machine. FLOPs are those of `atst.pretraining.flops`; `--peak` is what the device could do in the
narrower precision, in 10^12 a second, and adds the share of it that is used.
"""

import argparse
import time
from collections.abc import Callable

import torch

from atst.model.device import resolve
from atst.model.encoder import SIZES
from atst.model.frontend import N_MELS, SAMPLE_RATE, n_frames
from atst.pretraining import TeacherStudent
from atst.pretraining.flops import flops_per_clip

CPU_BATCH = {"nano": 64, "tiny": 32, "small": 16, "base": 4}  # a few seconds a step on one core
GPU_BATCH = 256


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--segments", type=float, nargs="+", default=[1.5])
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall")
    parser.add_argument("--peak", type=float, default=0.0)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device = resolve(options.device)
    print(f"{device.type}, {options.threads} threads")
    print("| size | segment | batch | GFLOP a clip | float32, clips/s | bf16, clips/s | bf16 / float32 "
          "| bf16, GFLOP/s |" + (" of the peak |" if options.peak else ""))  # fmt: skip
    print("|---|---|---|---|---|---|---|---|" + ("---|" if options.peak else ""))
    for seconds in options.segments:
        frames = n_frames(round(seconds * SAMPLE_RATE))
        for size in options.sizes:
            batch = options.batch or (CPU_BATCH[size] if device.type == "cpu" else GPU_BATCH)
            full, half = speeds(size, frames, batch, device, options.seconds, options.clock)
            flops = flops_per_clip(size, frames)
            share = f" {half * flops / options.peak / 1e12:.0%} |" if options.peak else ""
            print(
                f"| {size} | {seconds:g} s | {batch} | {flops / 1e9:.2f} | {full:.1f} | {half:.1f} "
                f"| {half / full:.2f} | {half * flops / 1e9:.0f} |{share}",
                flush=True,
            )


def speeds(
    size: str, frames: int, batch: int, device: torch.device, seconds: float, clock: str
) -> tuple[float, float]:
    """Clips a second in float32 and in bfloat16, of the fastest step of each."""
    now = time.process_time if clock == "cpu" else time.perf_counter
    steps = [stepper(size, frames, batch, device, low) for low in (False, True)]
    times: list[list[float]] = [[], []]
    for step in steps:
        step()  # warm-up
    while min(sum(taken) for taken in times) < seconds or len(times[0]) < 3:
        for step, taken in zip(steps, times, strict=True):
            start = now()
            step()
            if device.type == "cuda":
                torch.cuda.synchronize()
            taken.append(now() - start)
    return batch / min(times[0]), batch / min(times[1])


def stepper(size: str, frames: int, batch: int, device: torch.device, low: bool) -> Callable[[], None]:
    """One training step, as often as called."""
    torch.manual_seed(0)
    pair = TeacherStudent(size).to(device)
    optimiser = torch.optim.AdamW(pair.parameter_groups(), lr=1e-6, eps=1e-6, fused=True)
    view1, view2 = torch.randn(2, batch, N_MELS, frames, device=device)

    def step() -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=low):
            loss, _ = pair.loss(view1, view2)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        pair.update_teacher(0.99)

    return step


if __name__ == "__main__":
    main()
