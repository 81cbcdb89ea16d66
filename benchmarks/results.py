"""Measure pre-trained encoders against baselines on real tasks; write docs/results.md and its figure.

    python benchmarks/results.py --data DATA --runs RUN [RUN ...] [--compare RUN ...] [--work DIR]

DATA holds tasks/esc10, tasks/fsdd and tasks/gmnotes; each RUN is a folder of `atst pretrain`: after --runs
the same recipe with different seeds, after --compare short runs of different recipes. Every probe is kept in
--work, so that an interrupted or repeated call measures only what is missing. Audio that is slow to decode
is best given to `atst pretrain` as WAV: a run sees every clip many times.
"""

import argparse
import csv
import json
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from atst import model as models
from atst.evaluation.metrics import paired_bootstrap
from atst.evaluation.output import write_probe
from atst.evaluation.probe import linear_probe
from atst.pretraining.run import model_at, stored_recipe
from atst.tasks import load_task

TASKS = {"esc10": "esc10", "fsdd": "fsdd", "fsdd-speaker": "fsdd", "gmnotes": "gmnotes"}
TITLES = {"esc10": "ESC-10", "fsdd": "digits", "fsdd-speaker": "speakers", "gmnotes": "families"}
CURVE_TASKS = ("esc10", "fsdd", "gmnotes")


@dataclass
class Measured:
    """One probe: the metric, its interval and whether each test clip was right."""

    value: float
    low: float
    high: float
    knn: float
    correct: np.ndarray


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--runs", type=Path, nargs="*", default=[])
    parser.add_argument("--compare", type=Path, nargs="*", default=[])
    parser.add_argument("--work", type=Path, default=Path("runs/results"))
    parser.add_argument("--docs", type=Path, default=Path("docs"))
    parser.add_argument("--note", type=Path, help="Markdown put under the tables, word for word")
    options = parser.parse_args()
    bench = Bench(options.data / "tasks", options.work)
    size = stored_recipe(options.runs[0]).size if options.runs else "tiny"
    rows = {
        "log-mel mean and deviation": [bench.all("logmel")],
        "openSMILE ComParE": [bench.all("opensmile")],
    }
    rows[f"`{size}`, untrained"] = [bench.all(f"random:{size}", seed) for seed in range(2)]
    if options.runs:
        rows[f"`{size}`, pre-trained"] = [bench.run(run) for run in options.runs]
        curves = [bench.curve(run) for run in options.runs]
        draw_curves(curves, rows, options.docs / "images" / "learning-curve.png")
        compared = compare(bench, options.compare)
        write_page(options.docs / "results.md", rows, options.runs, size, compared, options.note)


class Bench:
    """Probes of models on the tasks, kept on disk."""

    def __init__(self, data: Path, work: Path) -> None:
        self.data, self.work = data, work

    def all(self, name: str, seed: int = 0) -> dict[str, Measured]:
        return {
            task: self.probe(task, f"{name}-{seed}".replace(":", "-"), lambda: models.load(name, seed=seed))
            for task in TASKS
        }

    def run(self, folder: Path, tasks=TASKS) -> dict[str, Measured]:
        return {task: self.probe(task, f"{folder.name}-end", lambda: models.load(folder)) for task in tasks}

    def curve(self, folder: Path) -> dict[str, list[tuple[int, float]]]:
        """For each task (clips seen, metric) of every kept checkpoint."""
        recipe = stored_recipe(folder)
        points: dict[str, list[tuple[int, float]]] = {task: [] for task in CURVE_TASKS}
        for checkpoint in sorted((folder / "checkpoints").glob("step-*.ckpt")):
            step = int(checkpoint.stem.split("-")[1])
            for task, line in points.items():
                name = f"{folder.name}-{step}"
                value = self.probe(task, name, lambda path=checkpoint: model_at(path)).value
                line.append((step * recipe.batch_size * recipe.accumulate, value))
        return points

    def probe(self, task: str, name: str, load) -> Measured:
        folder = self.work / name / task
        if not (folder / "results.json").is_file():
            model = load()
            labelled = load_task(task, self.data / TASKS[task])
            write_probe(linear_probe(model, labelled), model, folder)
        result = json.loads((folder / "results.json").read_text())
        with (folder / "predictions.csv").open(newline="") as file:
            correct = np.array([float(row["correct"]) for row in csv.DictReader(file)])
        print(f"{name:30} {task:14} {result['value']:.3f}", flush=True)
        return Measured(result["value"], *result["ci"], result["knn"]["value"], correct)


def draw_curves(curves: list[dict], rows: dict, path: Path) -> None:
    figure, axes = plt.subplots(1, len(CURVE_TASKS), figsize=(11, 3.7), layout="constrained")
    for axis, task in zip(axes, CURVE_TASKS, strict=True):
        for seed, curve in enumerate(curves):
            clips, values = zip(*curve[task], strict=True)
            axis.plot(np.array(clips) / 1000, values, "o-", ms=3, label=f"pre-trained, seed {seed}")
        for (name, measured), style in zip(rows.items(), (":", "-.", "--"), strict=False):
            mean = np.mean([m[task].value for m in measured])
            axis.axhline(mean, ls=style, c="0.4", lw=1, label=name.replace("`", ""))
        axis.set(title=TITLES[task], xlabel="thousand clips seen", ylabel="accuracy")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)


def compare(bench: Bench, runs: list[Path]) -> str:
    """A row a run: what its recipe says of segments and steps, what the loader gave, what the probes say."""
    keys = ("size", "segment_seconds", "min_seconds", "sampling", "batch_size", "learning_rate")
    names = [*(key.replace("_", " ") for key in keys), "clips seen", "padding", "pairs that differ"]
    lines = ["| " + " | ".join([*names, *(TITLES[task] for task in CURVE_TASKS)]) + " |"]
    lines.append("|---" * (len(names) + len(CURVE_TASKS)) + "|")
    for run in runs:
        recipe, (clips, padding, differing) = stored_recipe(run), seen(run)
        cells = [str(getattr(recipe, key)) for key in keys]
        cells += [str(clips), f"{padding:.1%}", f"{differing:.1%}"]
        cells += [f"{measured.value:.3f}" for measured in bench.run(run, CURVE_TASKS).values()]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def seen(run: Path) -> tuple[int, float, float]:
    """Clips seen by a run, and the mean shares of padding and of pairs with two different segments."""
    recipe = stored_recipe(run)
    with (run / "metrics.csv").open(newline="") as file:
        metrics = list(csv.DictReader(file))
    padding, differing = (np.mean([float(row[key]) for row in metrics]) for key in ("padding", "differing"))
    return len(metrics) * recipe.batch_size * recipe.accumulate, float(padding), float(differing)


def write_page(path: Path, rows: dict, runs: list[Path], size: str, compared: str, note: Path | None) -> None:
    head = "| features | seed | " + " | ".join(TITLES.values()) + " |\n|---|---|" + "---|" * len(TASKS)
    table = [
        f"| {name} | {seed if len(seeds) > 1 or 'trained' in name else '-'} | "
        + " | ".join(f"{m[t].value:.3f} ({m[t].low:.3f} to {m[t].high:.3f})" for t in TASKS)
        + " |"
        for name, seeds in rows.items()
        for seed, m in enumerate(seeds)
    ]
    sections = [
        "# Results",
        "Written by `benchmarks/results.py` from measured runs. Accuracy on test clips of a linear probe "
        "(`atst probe`, protocol `paper`: all blocks' CLS and mean tokens, rate and epoch chosen on "
        "validation clips), with a 95% bootstrap interval over test clips. Seeds are those of pre-training "
        "or of the untrained weights.",
        "\n".join([head, *table]),
        "## What pre-training adds",
        "Differences in accuracy on the same test clips, with the 95% interval of a paired bootstrap.",
        differences(rows, size),
        "## The runs",
        *[describe(run, seed) for seed, run in enumerate(runs)],
        "![Accuracy over clips seen](images/learning-curve.png)",
        "One point a checkpoint, probed like the rest; horizontal lines are the baselines.",
        f"## How the segments of `{size}` were chosen",
        "Short runs of a small encoder, one seed each, probed like the rest: differences of a point or two "
        "are within chance.",
        compared,
    ]
    path.write_text("\n\n".join(sections) + "\n" + (f"\n{note.read_text()}" if note else ""))


def differences(rows: dict, size: str) -> str:
    lines = ["| against | seed | " + " | ".join(TITLES.values()) + " |", "|---|---|" + "---|" * len(TASKS)]
    for other, baseline in rows.items():
        for seed, trained in enumerate(rows[f"`{size}`, pre-trained"]):
            if other == f"`{size}`, pre-trained":
                continue
            reference = baseline[min(seed, len(baseline) - 1)]
            cells = []
            for task in TASKS:
                mean, low, high = paired_bootstrap(trained[task].correct, reference[task].correct)
                cells.append(f"{mean:+.3f} ({low:+.3f} to {high:+.3f})")
            lines.append(f"| {other} | {seed} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def describe(run: Path, seed: int) -> str:
    recipe, (clips, padding, differing) = stored_recipe(run), seen(run)
    steps = clips // (recipe.batch_size * recipe.accumulate)
    with (run / "metrics.csv").open(newline="") as file:
        speeds = [float(row["clips_per_second"]) for row in csv.DictReader(file)]
    hours = sum(clips / steps / speed for speed in speeds) / 3600
    return (
        f"Seed {seed}: {steps} of {recipe.max_steps} steps, {clips} clips seen in {hours:.1f} h. "
        f"Segments of {recipe.segment_seconds:g} s from clips of {recipe.min_seconds:g} s and more, drawn "
        f"{recipe.sampling}; {padding:.1%} of the segments is padding, {differing:.1%} of the pairs have two "
        f"different segments."
    )


if __name__ == "__main__":
    main()
