"""Clips a second of a training step: alone, and end to end with loading and views.

    python benchmarks/step.py [--recipes nano-paper nano tiny small base] [--segments S] [--precisions P ...]
                              [--source SRC] [--device auto] [--threads 2] [--workers -1] [--batch N]
                              [--seconds 5] [--turns 3] [--warm-up 5] [--only alone|whole]
                              [--against CHECKOUT] [--their-source SRC]

Alone: loss, backward pass, AdamW and teacher of views that are there already. End to end ("whole"): the
training that `atst pretrain` runs, on SRC (default: the built-in sounds); `--warm-up` steps use up what the
loader processes had ready. Each measurement is a process of its own, they take turns, the fastest counts.
`--against` measures another checkout of atst in the same turns, on `--their-source` (default: SRC), with the
recipe that it calls by the same name, or `nano` for `nano-paper`.

Beside the clips a second stand the share of the machine's measured peak (products of matrices, the best of
all turns), and the clips for a second of processor time of all processes of the training, which says
something on a machine that others use too.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch

CPU_BATCH = {"nano-paper": 256, "nano": 64, "tiny": 32, "small": 16, "base": 4}
GPU_BATCH = 256
TICKS = os.sysconf("SC_CLK_TCK")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--recipes", nargs="+", default=list(CPU_BATCH))
    parser.add_argument("--segments", type=float, help="seconds (default: the recipe's)")
    parser.add_argument("--precisions", nargs="+", default=["float32", "bf16"])
    parser.add_argument("--source", default="synthetic")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--workers", type=int, default=-1)
    parser.add_argument("--batch", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--warm-up", type=int, default=5)
    parser.add_argument("--only", choices=["alone", "whole"])
    parser.add_argument("--against", type=Path)
    parser.add_argument("--their-source")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(CHILDREN[options.child](options)))
    else:
        table(options)


def table(options: argparse.Namespace) -> None:
    """Measure everything and print a row a recipe and precision."""
    from atst.model.device import resolve
    from atst.output.markup import markdown
    from atst.pretraining import recipe as recipes
    from atst.pretraining.flops import flops_per_clip
    from atst.training.peak import matmul_peak

    device = resolve(options.device)
    torch.set_num_threads(options.threads)
    kinds = [options.only] if options.only else ["alone", "whole"]
    whose = ["ours", "theirs"] if options.against else ["ours"]
    header = ["recipe", "precision", "GFLOP a clip", "peak, GFLOP/s"]
    for kind in kinds:
        header += [f"{kind}, clips/s", "of the peak", "clips a processor second"]
        header += ["against theirs", "the same in processor time"] * (len(whose) - 1)
    rows: list[list[str]] = []
    for name in options.recipes:
        overrides = [f"segment_seconds={options.segments}"] if options.segments else []
        flops = flops_per_clip(recipes.resolve(name, overrides))
        for precision in options.precisions:
            peak = 0.0
            best: dict[tuple[str, str], dict[str, float]] = {}
            for _ in range(options.turns):
                peak = max(peak, matmul_peak(precision, device))
                for kind in kinds:
                    for side in whose:
                        found = measured(options, kind, side, name, precision)
                        before = best.setdefault((kind, side), found)
                        for key, value in found.items():
                            before[key] = max(before[key], value)
            row = [name, precision, f"{flops / 1e9:.2f}", f"{peak / 1e9:.0f}"]
            for kind in kinds:
                ours = best[kind, "ours"]
                row += [f"{ours['wall']:.1f}", f"{ours['wall'] * flops / peak:.0%}", f"{ours['cpu']:.1f}"]
                if options.against:
                    theirs = best[kind, "theirs"]
                    row += [f"{ours[clock] / theirs[clock]:.2f}" for clock in ("wall", "cpu")]
            rows.append(row)
            print(row, file=sys.stderr, flush=True)
    print(markdown(header, rows))


def measured(
    options: argparse.Namespace, kind: str, side: str, name: str, precision: str
) -> dict[str, float]:
    """Clips a second of wall clock and of processor time, by a process of its own."""
    environment = dict(os.environ, OMP_WAIT_POLICY="PASSIVE", OMP_NUM_THREADS=str(options.threads))
    source = options.source
    if side == "theirs":
        environment["PYTHONPATH"] = str(options.against / "src")
        source = options.their_source or source
        name = "nano" if name == "nano-paper" else name
    command = [sys.executable, __file__, "--child", kind, "--recipes", name, "--precisions", precision]
    command += ["--source", source, "--device", options.device, "--workers", str(options.workers)]
    command += ["--batch", str(options.batch or CPU_BATCH.get(name, 64)), "--seconds", str(options.seconds)]
    command += ["--warm-up", str(options.warm_up)]
    command += ["--segments", str(options.segments)] if options.segments else []
    if side == "theirs" and name == "nano":
        command[command.index("--batch") + 1] = str(options.batch or CPU_BATCH["nano-paper"])
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def set_up(options: argparse.Namespace) -> tuple[Any, torch.device]:
    """The recipe, and the device; large blocks are kept as a training does, where the checkout knows how."""
    from atst.model.device import resolve
    from atst.pretraining import recipe as recipes

    try:
        from atst.training import memory

        memory.keep()
    except ImportError:
        pass
    device = resolve(options.device)
    batch = options.batch if device.type == "cpu" else GPU_BATCH
    changes = [f"batch_size={batch}", f"precision={options.precisions[0]}", f"workers={options.workers}"]
    changes += [f"segment_seconds={options.segments}"] if options.segments else []
    return recipes.resolve(options.recipes[0], changes), device


def alone(options: argparse.Namespace) -> dict[str, float]:
    """Steps on the same two views."""
    from atst.model.frontend import N_MELS, SAMPLE_RATE, n_frames
    from atst.pretraining.module import PretrainingModule

    recipe, device = set_up(options)
    torch.manual_seed(0)
    module = PretrainingModule(recipe).to(device)
    pair = module.pair
    optimiser = torch.optim.AdamW(pair.parameter_groups(), lr=1e-6, eps=1e-6, fused=True)
    frames = n_frames(round(recipe.segment_seconds * SAMPLE_RATE))
    view1, view2 = torch.randn(2, recipe.batch_size, N_MELS, frames, device=device)

    def step() -> float:
        with torch.autocast(device.type, torch.bfloat16, enabled=recipe.precision == "bf16"):
            loss, _ = pair.loss(view1, view2)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        pair.update_teacher(0.99)
        return float(loss.detach())  # waits for an accelerator

    with as_in_training():
        step()
        clock = Clock(recipe.batch_size)
        while not clock.enough(options.seconds):
            step()
            clock.tick()
    return clock.rates()


def as_in_training() -> AbstractContextManager[None]:
    """How a training multiplies matrices, where the checkout knows another way than PyTorch's usual one."""
    try:
        from atst.model.matmul import fast_products
    except ImportError:
        return nullcontext()
    return fast_products()


def whole(options: argparse.Namespace) -> dict[str, float]:
    """The training itself, stopped after some seconds of steps."""
    import pytorch_lightning as lightning

    from atst.corpus import open_corpus
    from atst.pretraining import data
    from atst.pretraining.module import PretrainingModule
    from atst.training.loader import BatchPositions
    from atst.training.loop import fit

    recipe, device = set_up(options)
    corpus = open_corpus([options.source], recipe.clip_seconds, recipe.min_seconds)
    dataset = data.PairDataset(corpus, recipe, logmel=device.type == "cpu")
    clock = Clock(recipe.batch_size)

    class Stop(lightning.Callback):
        def on_train_batch_end(self, trainer: Any, module: Any, *rest: Any) -> None:
            float(module.statistics["loss"])
            if trainer.global_step == options.warm_up:
                clock.start()
            elif trainer.global_step > options.warm_up:
                clock.tick()
            trainer.should_stop = clock.enough(options.seconds)

    fit(
        PretrainingModule(recipe),
        lambda rank: data.loader(dataset, BatchPositions(recipe.batch_size), recipe.workers),
        [Stop()],
        device,
        precision=recipe.precision,
        accumulate=1,
        max_steps=100_000,
    )
    return clock.rates()


CHILDREN = {"alone": alone, "whole": whole}


class Clock:
    """Clips a second since its start."""

    def __init__(self, clips: int) -> None:
        self.clips = clips
        self.start()

    def start(self) -> None:
        self.steps = -1
        self.tick()
        self.wall, self.cpu = self.end, self.used

    def tick(self) -> None:
        self.steps += 1
        self.end, self.used = time.perf_counter(), processor_time(os.getpid())  # loaders end before `rates`

    def enough(self, seconds: float) -> bool:
        return self.steps >= 2 and time.perf_counter() - self.wall >= seconds

    def rates(self) -> dict[str, float]:
        clips = self.clips * self.steps
        return {"wall": clips / (self.end - self.wall), "cpu": clips / (self.used - self.cpu)}


def processor_time(process: int) -> float:
    """Seconds that a process and those below it have computed (Linux; else those of this process)."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
        total = (int(fields[11]) + int(fields[12])) / TICKS
        for task in Path(f"/proc/{process}/task").iterdir():
            total += sum(processor_time(int(child)) for child in (task / "children").read_text().split())
    except OSError:
        return time.process_time() if process == os.getpid() else 0.0
    return total


if __name__ == "__main__":
    main()
