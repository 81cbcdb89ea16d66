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
import functools
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from results_page import COMPARED, CURVE_TASKS, compare, describe, differences, draw_curves, main_table
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from atst.evaluation.features import Features, extract
from atst.evaluation.knn import NEIGHBOURS, knn_scores
from atst.evaluation.output import write_probe
from atst.evaluation.probe import linear_probe
from atst.model import load as models
from atst.pretraining.run import model_at, stored_recipe
from atst.scoring.metrics import interval, resampled_means
from atst.tasks import Task, load_task

TASKS = {
    "esc10": "esc10",
    "fsdd": "fsdd",
    "fsdd-speaker": "fsdd",
    "gmnotes": "gmnotes",
    "gmnotes-pitch": "gmnotes",
}
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
    regressed, near = (
        rows(*[functools.partial(bench.simply, kind)] * 2, runs) for kind in ("regression", "neighbours")
    )
    figure = options.docs / "images" / "learning-curve.png"
    draw_curves([(run, bench.curve(run)) for run in options.runs], *regressed[:2], figure)
    sections = [
        INTRODUCTION,
        main_table(baselines, untrained, trained),
        "## What pre-training adds",
        "Differences in accuracy on the same test clips, with the 95% interval of a paired bootstrap. An "
        "untrained encoder is that of the same seed.",
        differences(baselines, untrained, trained),
        "## The same features, other classifiers",
        "Nothing is chosen on validation clips here, so chance has less room.",
        f"Logistic regression on standardised features, C = {PENALTY:g} for all:",
        main_table(*regressed),
        differences(*regressed),
        f"The {NEIGHBOURS} nearest neighbours by cosine, with nothing trained at all. Features go in as they "
        "are, which openSMILE's do not suit: their units differ by orders of magnitude.",
        main_table(*near),
        differences(*near),
        "## The runs",
        *[describe(run) for run in options.runs],
        "How many directions the features of ESC-10's clips use, as the exponential of the entropy of their "
        "singular values after centring: " + "; ".join(bench.directions(runs)) + ".",
        "![Accuracy over clips seen](images/learning-curve.png)",
        "One point a checkpoint, by logistic regression; horizontal lines are the baselines.",
        "## Other recipes",
        "One seed each, probed like the first table: differences of a point or two are within chance.",
        compare({run: bench.run(run, COMPARED) for run in options.compare}),
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

    def simply(self, kind: str, name: str | Path, seed: int = 0) -> dict[str, Measured]:
        """By a classifier of `SIMPLE` that chooses nothing."""
        label = f"{name.name}-end" if isinstance(name, Path) else f"{name}-{seed}".replace(":", "-")
        return {t: self.simple(kind, t, label, lambda: models.load(name, seed=seed)) for t in TASKS}

    def simple(self, kind: str, task: str, name: str, load) -> Measured:
        path = self.work / name / task / f"{kind}.json"
        if not path.is_file():
            labelled = load_task(task, self.data / TASKS[task])
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(correct_clips(kind, extract(load(), labelled), labelled)))
        correct = np.array(json.loads(path.read_text()))
        low, high = interval(resampled_means(correct, 0))
        print(f"{name:30} {task:14} {correct.mean():.3f} by {kind}", flush=True)
        return Measured(float(correct.mean()), low, high, correct)

    def directions(self, runs: dict[str, list[Path]]) -> list[str]:
        """The effective rank of each encoder's features, untrained and after each run, in words."""
        task = load_task("esc10", self.data / "esc10")
        said = []
        for size, folders in runs.items():
            ranks = [
                effective_rank(extract(models.load(name), task)) for name in (f"random:{size}", *folders)
            ]
            numbers = " and ".join(f"{rank:.0f}" for rank in ranks[1:])
            said.append(f"`{size}` {ranks[0]:.0f} untrained, {numbers} pre-trained")
        return said

    def curve(self, folder: Path) -> dict[str, list[tuple[int, float]]]:
        """For each task (clips seen, metric) of every kept checkpoint."""
        recipe = stored_recipe(folder)
        points: dict[str, list[tuple[int, float]]] = {task: [] for task in CURVE_TASKS}
        for checkpoint in sorted((folder / "checkpoints").glob("step-*.ckpt")):
            step = int(checkpoint.stem.split("-")[1])
            for task, line in points.items():
                name = f"{folder.name}-{step}"
                value = self.simple("regression", task, name, lambda path=checkpoint: model_at(path)).value
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


def correct_clips(kind: str, features: Features, task: Task) -> list[float]:
    """Whether each test clip is right, fold by fold, trained on the other folds or on the training split."""
    labels = task.labels[features.rows]
    if task.folds is not None:
        tests = [task.folds[features.rows] == fold for fold in np.unique(task.folds)]
        divided = [(~test, test) for test in tests]
    else:
        divided = [(task.splits[features.rows] == "train", task.splits[features.rows] == "test")]
    correct: list[float] = []
    for train, test in divided:
        guesses = SIMPLE[kind](features.values[train], labels[train], features.values[test])
        correct += (guesses == labels[test]).astype(float).tolist()
    return correct


def effective_rank(features: Features) -> float:
    """The exponential of the entropy of the singular values of the centred features."""
    values = np.asarray(features.values)
    singular = np.linalg.svd(values - values.mean(0), compute_uv=False)
    share = singular[singular > 0] / singular.sum()
    return float(np.exp(-(share * np.log(share)).sum()))


def regression(known: np.ndarray, labels: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """Labels of `asked` by logistic regression on standardised features."""
    classifier = make_pipeline(StandardScaler(), LogisticRegression(C=PENALTY, max_iter=1000))
    return classifier.fit(known, labels).predict(asked)


def neighbours(known: np.ndarray, labels: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """Labels of `asked` by the vote of their nearest neighbours, as in every probe."""
    given, classes = torch.from_numpy(labels), int(labels.max()) + 1
    return knn_scores(torch.from_numpy(known), given, torch.from_numpy(asked), classes).argmax(1).numpy()


SIMPLE = {"regression": regression, "neighbours": neighbours}


if __name__ == "__main__":
    main()
