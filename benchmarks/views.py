"""How fast the views of a batch are made on a CPU, against the same transforms clip by clip.

    python benchmarks/views.py [--threads 1] [--clips 64] [--repeats 5]

Both segments of a clip: log-mel, mixup with an earlier clip, random resize crop. "Clip by clip" is each
transform as its plain formula for one segment after the other, as a data set's transform would do it; the
results are compared first. Of the resize crop there is a table of three ways: sums of four weighted frames
(what atst does), products with matrices, and `torch.nn.functional.interpolate`. The ways take turns in one
process; the clock is its processor time, and the fastest of the repeats counts.
"""

import argparse
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from atst.model.frontend import HOP, N_FFT, FrontEnd, mel_filterbank, normalise, to_decibel
from atst.output.markup import markdown
from atst.training import memory
from atst.training.augment import CANVAS, MixupBank, draw_crops, log_mixup_exp, resize_crop, taps
from atst.training.peak import matmul_peak

FLOPS_A_FRAME = 2.5 * N_FFT * 10 + 3 * N_FFT + 2 * 513 * 64  # transform, window and squares, mel bands


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--clips", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    memory.keep()
    peak = matmul_peak("float32", torch.device("cpu"))
    print(f"matrix products of float32: {peak / 1e9:.0f} GFLOP/s\n")
    rows: list[list[str]] = []
    crops: list[list[str]] = []
    for seconds in (0.96, 1.5, 3.0, 6.0):
        measure(seconds, options.clips, options.repeats, peak, rows, crops)
    header = [
        "segments",
        "part",
        "ms a clip",
        "clip by clip",
        "ratio",
        "clips/s a core",
        "front end of the peak",
    ]
    print(markdown(header, rows))
    print(markdown(["resize crop of segments", "weighted sums, ms", "matrices", "interpolate"], crops))


@torch.no_grad()
def measure(
    seconds: float, clips: int, repeats: int, peak: float, rows: list[list[str]], crops: list[list[str]]
) -> None:
    torch.manual_seed(0)
    waves = torch.randn(clips, 2, round(16_000 * seconds)) * 0.1
    frontend, plain = FrontEnd(), mel_filterbank()
    logmels = frontend(waves.flatten(0, 1)).unflatten(0, (clips, 2)).transpose(0, 1)  # (2, B, 64, T)
    boxes = [draw_crops(torch.rand(clips, 4), *logmels.shape[2:]) for _ in range(2)]
    draws = torch.rand(2, clips, 2)

    def front_end() -> Tensor:  # as a loader process, a clip at a time
        return torch.stack([frontend(pair) for pair in waves], dim=1)

    def front_end_alone() -> Tensor:
        made = [[one_logmel(wave, frontend.window, plain) for wave in pair] for pair in waves]
        return torch.stack([torch.stack(pair) for pair in made], dim=1)

    banks = [MixupBank(clips) for _ in range(2)]

    def mixup(logmels: Tensor) -> list[Tensor]:
        for bank in banks:
            bank.seen = 0
        return [bank.mix(view, draw) for bank, view, draw in zip(banks, logmels, draws, strict=True)]

    def mixup_alone(logmels: Tensor) -> list[Tensor]:
        return [torch.stack(mixed(view, draw)) for view, draw in zip(logmels, draws, strict=True)]

    def crop(views: list[Tensor], way: Callable[[Tensor, Tensor], Tensor] = resize_crop) -> list[Tensor]:
        return [way(view, box) for view, box in zip(views, boxes, strict=True)]

    ready = [view.contiguous() for view in logmels]
    parts = {
        "log-mel": (front_end, front_end_alone),
        "mixup": (lambda: mixup(logmels), lambda: mixup_alone(logmels)),
        "resize crop": (lambda: crop(ready), lambda: crop(ready, interpolated)),
        "all": (lambda: crop(mixup(front_end())), lambda: crop(mixup_alone(front_end_alone()), interpolated)),
    }
    for part, ways in parts.items():
        difference = max(
            (first - second).abs().max().item() for first, second in zip(ways[0](), ways[1](), strict=True)
        )
        assert difference < 1e-4, (part, difference)
        ours, alone = (1e3 * taken / clips for taken in take_turns(ways, repeats))
        share = FLOPS_A_FRAME * 2 * logmels.shape[-1] / (ours / 1e3) / peak
        rows.append([
            f"{seconds:g} s", part, f"{ours:.3f}", f"{alone:.3f}", f"{alone / ours:.2f}",
            f"{1e3 / ours:.0f}" if part == "all" else "", f"{share:.0%}" if part == "log-mel" else "",
        ])  # fmt: skip
    times = take_turns(
        tuple(lambda way=way: crop(ready, way) for way in (resize_crop, by_matrices, interpolated)), repeats
    )
    crops.append([f"{seconds:g} s", *(f"{1e3 * taken / clips:.3f}" for taken in times)])


def one_logmel(wave: Tensor, window: Tensor, filterbank: Tensor) -> Tensor:
    """Log-mel (64, T) of one segment (N,), by the plain formula."""
    spectrum = torch.stft(
        wave, N_FFT, HOP, window=window, center=True, pad_mode="reflect", return_complex=True
    )
    power = spectrum.abs().square()  # (513, T)
    return normalise(to_decibel((filterbank.T @ power)[None]))[0]


def mixed(logmels: Tensor, draws: Tensor) -> list[Tensor]:
    """Each clip with one of those before it, one after the other, as `MixupBank` draws them."""
    done = []
    for number, (logmel, (which, weight)) in enumerate(zip(logmels, draws, strict=True)):
        if number == 0:
            done.append(logmel)
            continue
        partner = logmels[number - 1 - min(int(which * number), number - 1)]
        done.append(log_mixup_exp(logmel, partner, 1.0 - 0.4 * weight))
    return done


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


def by_matrices(logmels: Tensor, crops: Tensor) -> Tensor:
    """The same by two products of matrices for the whole batch."""
    bands, frames = logmels.shape[1:]
    top, left, height, width = crops.unbind(1)
    offset = (int(CANVAS * frames) - frames) // 2
    rows = torch.zeros(len(crops), bands, bands).scatter_add_(2, *taps(top, height, bands, bands))
    columns = torch.zeros(len(crops), frames, frames)
    columns.scatter_add_(2, *taps(left - offset, width, frames, frames))
    return rows @ logmels @ columns.transpose(1, 2)


def take_turns(ways: tuple[Callable[[], object], ...], repeats: int) -> list[float]:
    times: list[list[float]] = [[] for _ in ways]
    for repeat in range(repeats + 1):
        for way, taken in zip(ways, times, strict=True):
            start = time.process_time()
            way()
            if repeat:  # the first is a warm-up
                taken.append(time.process_time() - start)
    return [min(taken) for taken in times]


if __name__ == "__main__":
    main()
