"""What the paper finds about positive pairs, the teacher and the read-out, tried with minutes of training.

    python benchmarks/ablations.py CORPUS --out RUNS [--seeds 0 1 2] [--only NAME ...] [--plot FILE]

Trains what is missing in RUNS (a folder NAME-SEED each, resumed if it was stopped), each for as many pairs,
then compares on the dev splits of `benchmarks/dev.py`, never on test clips: the mean of four tasks, of all
seeds, against the recipe without the change. CORPUS is what `atst pretrain` takes; a packed one is fastest.
Intervals (95%) are of a paired bootstrap over clips; what seeds make of it stands beside them.
"""

import argparse
import os
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from dev import METHODS, TASKS, Measured, differences, gains, load_tasks, measure

import atst
from atst.output.markup import markdown
from atst.tasks import Task

RECIPES = {
    "nano-paper": ["batch_size=64", "learning_rate=2e-3", "max_steps=600", "warmup_steps=60"],  # 38,400 pairs
    "nano": ["max_steps=563", "warmup_steps=56"],  # 36,032 pairs
}


@dataclass
class Ablation:
    """One change to a recipe, or none."""

    title: str
    overrides: list[str] = field(default_factory=list)
    recipe: str = "nano-paper"
    against: str = "default"


ABLATIONS = {
    "default": Ablation("two segments of 1.5 s, mixup, resize crop, EMA from .99"),
    "same": Ablation("one segment, two augmentations of it", ["same_segment=true"]),
    "second1": Ablation("segments of 1 s", ["segment_seconds=1"]),
    "second3": Ablation("segments of 3 s", ["segment_seconds=3"]),
    "second6": Ablation("segments of 6 s", ["segment_seconds=6"]),
    "nomixup": Ablation("no mixup", ["mixup=false"]),
    "nocrop": Ablation("no resize crop", ["resize_crop=false"]),
    "ema9": Ablation("EMA from .9", ["ema=0.9"]),
    "ema999": Ablation("EMA from .999", ["ema=0.999"]),
    "infonce": Ablation("recipe nano, InfoNCE", recipe="nano", against="infonce"),
    "byol": Ablation("recipe nano, BYOL", ["objective=byol"], recipe="nano", against="infonce"),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--only", nargs="+", choices=ABLATIONS, default=list(ABLATIONS))
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("ATST_TEST_DATA", "../shared/data")))
    parser.add_argument(
        "--set", nargs="+", default=[], dest="overrides", help="of every run, as of atst pretrain"
    )
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", torch.get_num_threads())))
    tasks = load_tasks(options.data)
    found: dict[str, list[Measured]] = {name: [] for name in options.only}
    for seed, (name, measured) in product(options.seeds, found.items()):
        ablation, folder = ABLATIONS[name], options.out / f"{name}-{seed}"
        overrides = [*RECIPES[ablation.recipe], *ablation.overrides, *options.overrides, f"seed={seed}"]
        atst.pretrain([options.corpus], out=folder, recipe=ablation.recipe, overrides=overrides, resume=True)
        measured.append(measure(str(folder / "model"), {}, tasks))
    over_seeds = {name: pooled(measured) for name, measured in found.items()}
    lines = [[ABLATIONS[name].title, *each.row()[2:]] for name, each in over_seeds.items()]
    print(f"\n{' / '.join(METHODS)}\n\n{markdown(['', *TASKS, 'mean'], lines)}\n")
    against = {name: ABLATIONS[name].against for name in found}
    changes = [name for name, other in against.items() if other != name and other in found]
    print(markdown(["change", "", *TASKS, "mean", "mean, by seed"], differences_by_seed(changes, found)))
    if "default" in found:
        folders = [options.out / f"default-{seed}" / "model" for seed in options.seeds]
        head = ["read-out of the default", "values", *TASKS, "mean"]
        print("\n" + markdown(head, readouts(folders, tasks)))
    if options.plot:
        plot(options.plot, changes, over_seeds)


def pooled(measured: list[Measured]) -> Measured:
    """The mean over seeds, clip by clip."""
    right = {
        task: [np.mean(fold, axis=0) for fold in zip(*(each.right[task] for each in measured), strict=True)]
        for task in TASKS
    }
    return Measured(measured[0].name, measured[0].values, right)


def differences_by_seed(changes: list[str], found: dict[str, list[Measured]]) -> list[list[str]]:
    """Two rows a change, a method each."""
    rows = []
    for name in changes:
        mine, other = found[name], found[ABLATIONS[name].against]
        for method, row in enumerate(differences(pooled(mine), pooled(other))):
            each = [a.mean(method) - b.mean(method) for a, b in zip(mine, other, strict=True)]
            rows.append([ABLATIONS[name].title, *row, ", ".join(f"{gain:+.3f}" for gain in each)])
    return rows


def readouts(models: list[Path], tasks: dict[str, Task]) -> list[list[str]]:
    """CLS tokens, mean tokens and single blocks, of the mean over models."""
    encoder = atst.load(models[0]).encoder
    block = {i: range(i * encoder.width, (i + 1) * encoder.width) for i in range(2 * encoder.depth)}
    last, all_blocks = encoder.depth - 1, range(encoder.depth)
    columns = {
        "CLS and mean of all blocks": list(block),
        "CLS of all blocks": list(all_blocks),
        "mean of all blocks": [encoder.depth + i for i in all_blocks],
        "CLS of the last block": [last],
        "mean of the last block": [encoder.depth + last],
        **{f"CLS and mean of block {i + 1}": [i, encoder.depth + i] for i in all_blocks},
    }
    rows = []
    for title, blocks in columns.items():
        chosen = [column for i in blocks for column in block[i]]
        rows.append([title, *pooled([measure(str(m), {}, tasks, columns=chosen) for m in models]).row()[1:]])
    return rows


def plot(path: Path, changes: list[str], over_seeds: dict[str, Measured]) -> None:
    """The differences of the mean of four tasks, with their intervals."""
    figure, axes = plt.subplots(figsize=(8, 0.5 * len(changes) + 1.2), layout="constrained")
    heights = np.arange(len(changes))[::-1]
    for method, title in enumerate(METHODS):
        pairs = [(over_seeds[name], over_seeds[ABLATIONS[name].against]) for name in changes]
        gain, low, high = np.array([gains(*pair, method)[-1] for pair in pairs]).T
        axes.errorbar(
            gain, heights + 0.15 - 0.3 * method, xerr=[gain - low, high - gain], fmt="o", label=title
        )
    axes.axvline(0, color="grey", linewidth=0.8)
    axes.set_yticks(heights, [ABLATIONS[name].title for name in changes])
    axes.set_xlabel("difference to the recipe without the change, mean of four tasks")
    axes.legend()
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
