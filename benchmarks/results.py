"""Measure pre-trained encoders against baselines on real tasks; write docs/results.md and its figure.

    python benchmarks/results.py --data DATA --runs RUN [RUN ...] [--compare RUN ...] [--work DIR]

DATA holds tasks/esc10, tasks/fsdd and tasks/gmnotes; each RUN is a folder of `atst pretrain`: after --runs
long runs, of one recipe for each encoder size and with different seeds, after --compare short runs of
different recipes. Every probe is kept in --work, so that an interrupted or repeated call measures only what
is missing. Audio that is slow to decode is best given to `atst pretrain` as WAV: a run sees every clip many
times.
"""

import argparse
import csv
import json
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from atst import model as models
from atst.evaluation.features import Features, extract
from atst.evaluation.metrics import interval, paired_bootstrap, resampled_means
from atst.evaluation.output import write_probe
from atst.evaluation.probe import linear_probe
from atst.pretraining.run import model_at, stored_recipe
from atst.tasks import Task, load_task

TASKS = {"esc10": "esc10", "fsdd": "fsdd", "fsdd-speaker": "fsdd", "gmnotes": "gmnotes"}
TITLES = {"esc10": "ESC-10", "fsdd": "digits", "fsdd-speaker": "speakers", "gmnotes": "families"}
CURVE_TASKS = ("esc10", "fsdd", "gmnotes")
PENALTY = 0.01  # C of the logistic regression


@dataclass
class Measured:
    """One probe: the metric, its interval and whether each test clip was right."""

    value: float
    low: float
    high: float
    correct: np.ndarray


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--runs", type=Path, nargs="+", required=True)
    parser.add_argument("--compare", type=Path, nargs="*", default=[])
    parser.add_argument("--work", type=Path, default=Path("runs/results"))
    parser.add_argument("--docs", type=Path, default=Path("docs"))
    parser.add_argument("--append", type=Path, nargs="*", default=[], help="Markdown put under the tables")
    options = parser.parse_args()
    bench = Bench(options.data / "tasks", options.work)
    runs: dict[str, list[Path]] = {}
    for run in options.runs:
        runs.setdefault(stored_recipe(run).size, []).append(run)
    baselines, untrained, trained = rows(bench.all, bench.run, runs)
    regressed = rows(bench.regressions, bench.regressions, runs)
    figure = options.docs / "images" / "learning-curve.png"
    draw_curves([(run, bench.curve(run)) for run in options.runs], *regressed[:2], figure)
    sections = [
        INTRODUCTION,
        main_table(baselines, untrained, trained),
        "## What pre-training adds",
        "Differences in accuracy on the same test clips, with the 95% interval of a paired bootstrap. An "
        "untrained encoder is that of the same seed.",
        differences(baselines, untrained, trained),
        "## The same features, another classifier",
        f"Logistic regression on standardised features, C = {PENALTY:g} for all: nothing is chosen on "
        "validation clips, of which ESC-10 has 80 a fold, so chance has less room.",
        main_table(*regressed),
        "Differences, as above:",
        differences(*regressed),
        "## The runs",
        *[describe(run) for run in options.runs],
        "![Accuracy over clips seen](images/learning-curve.png)",
        "One point a checkpoint, by logistic regression; horizontal lines are the baselines.",
        "## Other recipes",
        "One seed each, probed like the first table: differences of a point or two are within chance.",
        compare(bench, options.compare),
        *[part.read_text().strip() for part in options.append],
    ]
    (options.docs / "results.md").write_text("\n\n".join(sections) + "\n")


def rows(baseline, run, runs: dict[str, list[Path]]) -> tuple[dict, dict, dict]:
    """Baselines by name; untrained and pre-trained encoders by size, a list of seeds each."""
    baselines = {
        "log-mel mean and deviation": baseline("logmel"),
        "openSMILE ComParE": baseline("opensmile"),
    }
    untrained = {size: [baseline(f"random:{size}", seed) for seed in range(2)] for size in runs}
    return baselines, untrained, {size: [run(folder) for folder in own] for size, own in runs.items()}


INTRODUCTION = """# Results

Written by `benchmarks/results.py` from measured runs. Accuracy on test clips of a linear probe (`atst probe`,
protocol `paper`: all blocks' CLS and mean tokens, rate and epoch chosen on validation clips), with a 95%
bootstrap interval over test clips. Seeds are those of pre-training or of the untrained weights."""


class Bench:
    """Probes of models on the tasks, kept on disk."""

    def __init__(self, data: Path, work: Path) -> None:
        self.data, self.work = data, work

    def all(self, name: str, seed: int = 0) -> dict[str, Measured]:
        label = f"{name}-{seed}".replace(":", "-")
        return {task: self.probe(task, label, lambda: models.load(name, seed=seed)) for task in TASKS}

    def run(self, folder: Path, tasks=TASKS) -> dict[str, Measured]:
        return {task: self.probe(task, f"{folder.name}-end", lambda: models.load(folder)) for task in tasks}

    def regressions(self, name: str | Path, seed: int = 0) -> dict[str, Measured]:
        label = f"{name.name}-end" if isinstance(name, Path) else f"{name}-{seed}".replace(":", "-")
        return {task: self.regression(task, label, lambda: models.load(name, seed=seed)) for task in TASKS}

    def regression(self, task: str, name: str, load) -> Measured:
        """Logistic regression with a fixed penalty on the same features."""
        path = self.work / name / task / "regression.json"
        if not path.is_file():
            labelled = load_task(task, self.data / TASKS[task])
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(regression(extract(load(), labelled), labelled)))
        correct = np.array(json.loads(path.read_text()))
        low, high = interval(resampled_means(correct, 0))
        print(f"{name:30} {task:14} {correct.mean():.3f} by logistic regression", flush=True)
        return Measured(float(correct.mean()), low, high, correct)

    def curve(self, folder: Path) -> dict[str, list[tuple[int, float]]]:
        """For each task (clips seen, metric) of every kept checkpoint."""
        recipe = stored_recipe(folder)
        points: dict[str, list[tuple[int, float]]] = {task: [] for task in CURVE_TASKS}
        for checkpoint in sorted((folder / "checkpoints").glob("step-*.ckpt")):
            step = int(checkpoint.stem.split("-")[1])
            for task, line in points.items():
                name = f"{folder.name}-{step}"
                value = self.regression(task, name, lambda path=checkpoint: model_at(path)).value
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
        return Measured(result["value"], *result["ci"], correct)


def regression(features: Features, task: Task) -> list[float]:
    """Whether each test clip is right, fold by fold, trained on the other folds or on the training split."""
    labels = task.labels[features.rows]
    if task.folds is not None:
        tests = [task.folds[features.rows] == fold for fold in np.unique(task.folds)]
        divided = [(~test, test) for test in tests]
    else:
        divided = [(task.splits[features.rows] == "train", task.splits[features.rows] == "test")]
    correct: list[float] = []
    for train, test in divided:
        classifier = make_pipeline(StandardScaler(), LogisticRegression(C=PENALTY, max_iter=1000))
        guesses = classifier.fit(features.values[train], labels[train]).predict(features.values[test])
        correct += (guesses == labels[test]).astype(float).tolist()
    return correct


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


def main_table(baselines: dict, untrained: dict, trained: dict) -> str:
    rows = [(name, "-", measured) for name, measured in baselines.items()]
    for size in trained:
        rows += [(f"`{size}`, untrained", seed, m) for seed, m in enumerate(untrained[size])]
        rows += [(f"`{size}`, pre-trained", seed, m) for seed, m in enumerate(trained[size])]
    lines = ["| features | seed | " + " | ".join(TITLES.values()) + " |", "|---" * (2 + len(TASKS)) + "|"]
    for name, seed, m in rows:
        cells = [f"{m[task].value:.3f} ({m[task].low:.3f} to {m[task].high:.3f})" for task in TASKS]
        lines.append(f"| {name} | {seed} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def differences(baselines: dict, untrained: dict, trained: dict) -> str:
    titles = " | ".join(TITLES.values())
    lines = [f"| pre-trained | seed | against | {titles} |", "|---" * (3 + len(TASKS)) + "|"]
    for size, seeds in trained.items():
        for seed, ours in enumerate(seeds):
            for name, other in (baselines | {"untrained": untrained[size][min(seed, 1)]}).items():
                cells = []
                for task in TASKS:
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


if __name__ == "__main__":
    main()
