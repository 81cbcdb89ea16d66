"""Where views are made on a CPU, and how the resize crop is: each way against the obvious other one.

    python benchmarks/views.py [--threads 1] [--clips 64] [--repeats 5]

Front end: a pair of segments at a time, as a loader process does it, against a whole batch at once, as the
training process could. Resize crop: two matrix products for the batch, against cutting each clip out of a
padded canvas and `torch.nn.functional.interpolate`. Both ways take turns in one process; the clock is its
processor time, and the median of the repeats counts. Loader processes run beside the training process, so
a tie is in their favour.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from atst.model.frontend import FrontEnd
from atst.training.augment import CANVAS, MixupBank, draw_crops, resize_crop


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--clips", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print("| segment | part | ways | ms a pair of segments | ratio |")
    print("|---|---|---|---|---|")
    for seconds in (1.5, 3.0, 6.0):
        measure(seconds, options.clips, options.repeats)


@torch.no_grad()
def measure(seconds: float, clips: int, repeats: int) -> None:
    waves = torch.randn(clips, 2, round(16_000 * seconds)) * 0.1
    frontend = FrontEnd()
    logmels = frontend(waves[:, 0])  # (B, 64, T)
    crops = draw_crops(torch.rand(clips, 4), *logmels.shape[1:])
    draws = torch.rand(clips, 2)
    bank = MixupBank()
    difference = (resize_crop(logmels, crops) - interpolated(logmels, crops)).abs().max().item()
    assert difference < 1e-3, difference

    def row(part: str, names: str, *ways: Callable[[], object]) -> None:
        times = [1e3 * taken / clips for taken in take_turns(ways, repeats)]
        ratio = f"{times[1] / times[0]:.2f}" if len(times) > 1 else ""
        shown = " / ".join(f"{taken:.3f}" for taken in times)
        print(f"| {seconds:g} s | {part} | {names} | {shown} | {ratio} |", flush=True)

    row(
        "front end",
        "batch / pair by pair",
        lambda: frontend(waves.flatten(0, 1)),
        lambda: [frontend(pair) for pair in waves],
    )
    row(
        "resize crop",
        "matrices / interpolate",
        lambda: [resize_crop(logmels, crops) for view in range(2)],
        lambda: [interpolated(logmels, crops) for view in range(2)],
    )
    row("mixup", "", lambda: [bank.mix(logmels, draws) for view in range(2)])


def interpolated(logmels: Tensor, crops: Tensor) -> Tensor:
    """The same as `resize_crop`, clip by clip."""
    bands, frames = logmels.shape[1:]
    left = (int(CANVAS * frames) - frames) // 2
    canvas = nn.functional.pad(logmels, (left, int(CANVAS * frames) - frames - left))
    out = torch.empty_like(logmels)
    for target, source, (top, start, height, width) in zip(out, canvas, crops.tolist(), strict=True):
        cut = source[None, None, top : top + height, start : start + width]
        target.copy_(
            nn.functional.interpolate(cut, (bands, frames), mode="bicubic", align_corners=True)[0, 0]
        )
    return out


def take_turns(ways: tuple[Callable[[], object], ...], repeats: int) -> list[float]:
    times: list[list[float]] = [[] for _ in ways]
    for repeat in range(repeats + 1):
        for way, taken in zip(ways, times, strict=True):
            start = time.process_time()
            way()
            if repeat:  # the first is a warm-up
                taken.append(time.process_time() - start)
    return [statistics.median(taken) for taken in times]


if __name__ == "__main__":
    main()
