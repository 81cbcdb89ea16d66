"""Tables and the figure of docs/results.md, from what `benchmarks/results.py` measured."""

import csv
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from atst.pretraining.run import stored_recipe
from atst.scoring.metrics import paired_bootstrap

TITLES = {
    "esc10": "ESC-10",
    "fsdd": "digits",
    "fsdd-speaker": "speakers",
    "gmnotes": "families",
    "gmnotes-pitch": "pitch classes",
}
CURVE_TASKS = ("esc10", "fsdd", "gmnotes")
COMPARED = (*CURVE_TASKS, "gmnotes-pitch")
SHOWN = (
    "size",
    "segment_seconds",
    "min_seconds",
    "sampling",
    "mixup",
    "resize_crop",
    "batch_size",
    "learning_rate",
)


def draw_curves(curves: list, baselines: dict, untrained: dict, path: Path) -> None:
    figure, axes = plt.subplots(1, len(CURVE_TASKS), figsize=(11, 3.9), layout="constrained")
    levels = {name: [measured] for name, measured in baselines.items()}
    levels |= {f"{size}, untrained": seeds for size, seeds in untrained.items()}
    for axis, task in zip(axes, CURVE_TASKS, strict=True):
        for run, curve in curves:
            recipe = stored_recipe(run)
            clips, values = zip(*curve[task], strict=True)
            label = f"{recipe.size}, pre-trained, seed {recipe.seed}"
            axis.plot(np.array(clips) / 1000, values, "o-", ms=3, label=label)
        for (name, seeds), style in zip(levels.items(), (":", "-.", "--", (0, (1, 4))), strict=False):
            axis.axhline(np.mean([m[task].value for m in seeds]), ls=style, c="0.4", lw=1, label=name)
        axis.set(title=TITLES[task], xlabel="thousand clips seen", ylabel="accuracy")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)


def compare(runs: dict[Path, dict]) -> str:
    """A row a run: what its recipe says of segments and steps, what the loader gave, what the probes say."""
    names = [*(key.replace("_", " ") for key in SHOWN), "clips seen", "padding", "pairs that differ"]
    lines = ["| " + " | ".join([*names, *(TITLES[task] for task in COMPARED)]) + " |"]
    lines.append("|---" * (len(names) + len(COMPARED)) + "|")
    for run, measured in runs.items():
        recipe, (clips, padding, differing) = stored_recipe(run), seen(run)
        cells = [str(getattr(recipe, key)) for key in SHOWN]
        cells += [str(clips), f"{padding:.1%}", f"{differing:.1%}"]
        cells += [f"{measured[task].value:.3f}" for task in COMPARED]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def seen(run: Path) -> tuple[int, float, float]:
    """Clips seen by a run, and the mean shares of padding and of pairs with two different segments."""
    recipe = stored_recipe(run)
    with (run / "metrics.csv").open(newline="") as file:
        metrics = list(csv.DictReader(file))
    padding, differing = (np.mean([float(row[key]) for row in metrics]) for key in ("padding", "differing"))
    return len(metrics) * recipe.batch_size * recipe.accumulate, float(padding), float(differing)


def main_table(baselines: dict, untrained: dict, trained: dict) -> str:
    rows = [(name, "-", measured) for name, measured in baselines.items()]
    for size in trained:
        rows += [(f"`{size}`, untrained", seed, m) for seed, m in enumerate(untrained[size])]
        rows += [(f"`{size}`, pre-trained", seed, m) for seed, m in enumerate(trained[size])]
    lines = ["| features | seed | " + " | ".join(TITLES.values()) + " |", "|---" * (2 + len(TITLES)) + "|"]
    for name, seed, m in rows:
        cells = [f"{m[task].value:.3f} ({m[task].low:.3f} to {m[task].high:.3f})" for task in TITLES]
        lines.append(f"| {name} | {seed} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def differences(baselines: dict, untrained: dict, trained: dict) -> str:
    titles = " | ".join(TITLES.values())
    lines = [f"| pre-trained | seed | against | {titles} |", "|---" * (3 + len(TITLES)) + "|"]
    for size, seeds in trained.items():
        for seed, ours in enumerate(seeds):
            for name, other in (baselines | {"untrained": untrained[size][min(seed, 1)]}).items():
                cells = []
                for task in TITLES:
                    mean, low, high = paired_bootstrap(ours[task].correct, other[task].correct)
                    cells.append(f"{mean:+.3f} ({low:+.3f} to {high:+.3f})")
                lines.append(f"| `{size}` | {seed} | {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def describe(run: Path) -> str:
    recipe, (clips, padding, differing) = stored_recipe(run), seen(run)
    steps = clips // (recipe.batch_size * recipe.accumulate)
    with (run / "metrics.csv").open(newline="") as file:
        speeds = [float(row["clips_per_second"]) for row in csv.DictReader(file)]
    hours = sum(clips / steps / speed for speed in speeds) / 3600
    return (
        f"`{recipe.size}`, seed {recipe.seed}: {steps} of {recipe.max_steps} steps of {recipe.batch_size} "
        f"clips, {clips} clips seen in {hours:.1f} h; learning rate {recipe.learning_rate:g} for 256 clips. "
        f"Segments of {recipe.segment_seconds:g} s from clips of {recipe.min_seconds:g} s and more, drawn "
        f"{recipe.sampling}; {padding:.1%} of the segments is padding, {differing:.1%} of the pairs have two "
        f"different segments."
    )
