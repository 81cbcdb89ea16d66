"""What a pre-trained encoder is worth on labelled tasks: few labels, and fine-tuning against from-scratch.

    python benchmarks/downstream.py --data DATA --model RUN [--work DIR] [--tasks NAME ...] [--write FILE.md]

DATA holds tasks/esc10, tasks/fsdd and tasks/gmnotes; RUN is a folder of `atst pretrain`. Everything measured
is kept in --work: a repeated call measures only what is missing, and several calls with different --tasks
may run beside each other. With --write nothing is measured: the page's part is written from what is there,
for `benchmarks/results.py --append`, and its figure beside it in images/.
"""

import argparse
import csv
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import atst
from atst.evaluation.few_shot import few_label_probe
from atst.evaluation.output import write_probe
from atst.evaluation.probe import linear_probe
from atst.model import load as models
from atst.pretraining.run import stored_recipe
from atst.scoring.metrics import interval, resampled_means
from atst.scoring.splits import Few
from atst.tasks import load_task

TASKS = {
    "esc10": ("esc10", "ESC-10"),
    "fsdd": ("fsdd", "digits"),
    "fsdd-speaker": ("fsdd", "speakers"),
    "gmnotes": ("gmnotes", "families"),
    "gmnotes-pitch": ("gmnotes", "pitch classes"),
}
SHOTS = (1, 2, 5, 10, 20, 0)  # training clips of each class; 0: all
DRAWS = {shots: 2 if shots else 1 for shots in SHOTS}  # fine-tunings, each with its own clips or fold
RATES = (0.03, 0.1, 0.3, 1.0)  # tried for either start
OWN = (0.3,)  # the recipe's; with one clip a class there is nothing to choose on
EPOCHS = {shots: 25 if shots else 10 for shots in SHOTS}
PROBED = ("log-mel", "untrained", "pre-trained")
STARTS = {"pre-trained": "fine-tuned", "untrained": "from scratch"}


@dataclass
class Point:
    """A measured value with its interval."""

    value: float
    low: float
    high: float


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path("runs/downstream"))
    parser.add_argument("--tasks", nargs="*", choices=TASKS, default=list(TASKS))
    parser.add_argument("--shots", nargs="*", type=int, default=list(SHOTS))
    parser.add_argument("--skip", choices=("probe", "finetune"))
    parser.add_argument("--write", type=Path)
    options = parser.parse_args()
    size = stored_recipe(options.model).size
    names = {"log-mel": "logmel", "untrained": f"random:{size}", "pre-trained": str(options.model)}
    bench = Bench(options.data / "tasks", options.work, names)
    if options.write:
        write(bench, size, options.write)
        return
    for task in options.tasks:
        for shots in options.shots if options.skip != "probe" else ():
            for name in PROBED:
                print(task, shots or "all", name, f"{bench.probe(task, shots, name).value:.3f}", flush=True)
        for shots in options.shots if options.skip != "finetune" else ():
            for name in STARTS:
                tuned = bench.tuned(task, shots, name)
                print(task, shots or "all", STARTS[name], f"{tuned.value:.3f} at {tuned.rate:g}", flush=True)


@dataclass
class Tuned(Point):
    """Fine-tuning with the rate that validation chose."""

    rate: float
    correct: dict[str, float]  # of each test clip, the share of draws that were right about it


class Bench:
    """Measurements kept on disk."""

    def __init__(self, data: Path, work: Path, names: dict[str, str]) -> None:
        self.data, self.work, self.names = data, work, names

    def probe(self, task: str, shots: int, name: str) -> Point:
        folder = self.work / "probe" / task / str(shots or "all") / name
        if not (folder / "results.json").is_file():
            model = models.load(self.names[name])
            labelled = load_task(task, self.data / TASKS[task][0])
            found = few_label_probe(model, labelled, Few(shots)) if shots else linear_probe(model, labelled)
            write_probe(found, model, folder)
            shutil.rmtree(folder / "model")
        result = json.loads((folder / "results.json").read_text())
        return Point(result["value"], *result["ci"])

    def probed(self, task: str) -> list[int]:
        """The shots for which all features have been probed."""
        folder = self.work / "probe" / task
        return [
            shots
            for shots in SHOTS
            if all((folder / str(shots or "all") / name / "results.json").is_file() for name in PROBED)
        ]

    def tuned(self, task: str, shots: int, name: str) -> Tuned:
        """All draws, with the rate that is best on their validation clips."""
        draws = range(DRAWS[shots])
        runs = {
            rate: [self.finetune(task, shots, name, rate, draw) for draw in draws] for rate in tried(shots)
        }
        rate = max(runs, key=lambda rate: np.mean([run["chosen"][0]["valid"] or 0 for run in runs[rate]]))
        correct: dict[str, list[float]] = {}
        for draw in draws:
            with (self.folder(task, shots, name, rate, draw) / "predictions.csv").open(newline="") as file:
                for row in csv.DictReader(file):
                    correct.setdefault(row["path"], []).append(float(row["correct"]))
        shares = {path: float(np.mean(values)) for path, values in correct.items()}
        value = np.array(list(shares.values()))
        return Tuned(float(value.mean()), *interval(resampled_means(value, 0)), rate, shares)

    def has(self, task: str, shots: int, name: str) -> bool:
        """Whether all trainings of a row are done."""
        return all(
            (self.folder(task, shots, name, rate, draw) / "results.json").is_file()
            for rate in tried(shots)
            for draw in range(DRAWS[shots])
        )

    def folder(self, task: str, shots: int, name: str, rate: float, draw: int) -> Path:
        return self.work / "finetune" / task / str(shots or "all") / name / f"{rate:g}" / str(draw)

    def finetune(self, task: str, shots: int, name: str, rate: float, draw: int) -> dict:
        """One training: the draw is the seed, and the fold where there are folds."""
        folder = self.folder(task, shots, name, rate, draw)
        if not (folder / "results.json").is_file():
            values = {"learning_rate": rate, "precision": "bf16", "workers": 0, "checkpoint_minutes": 0}
            values |= {"max_epochs": EPOCHS[shots], "warmup_epochs": 2}
            atst.finetune(
                task,
                model=self.names[name],
                data=self.data / TASKS[task][0],
                out=folder,
                protocol="own",
                shots=shots or None,
                fold=draw + 1 if task == "esc10" else None,
                seed=draw,
                resume=True,
                overrides=[f"{key}={value}" for key, value in values.items()],
            )
            shutil.rmtree(folder / "model")
            shutil.rmtree(folder / "training", ignore_errors=True)
        return json.loads((folder / "results.json").read_text())


def tried(shots: int) -> tuple[float, ...]:
    """The rates of a row."""
    return OWN if shots == 1 else RATES


def write(bench: Bench, size: str, path: Path) -> None:
    """The page's part and its figure."""
    figure = f"images/few-labels-{size}.png"
    draw(bench, path.parent / figure)
    rates = ", ".join(f"{rate:g}" for rate in RATES)
    sections = [
        f"## Few labels: `{size}`",
        "The linear probe with so many training clips of each class: the mean of 5 draws and a 95% interval "
        f"over them; all: one training, bootstrap over test clips. The encoder is `{size}`, seed 0.",
        probe_table(bench),
        f"![Accuracy over labels]({figure})",
        f"## Fine-tuning against training from scratch: `{size}`",
        "`atst finetune --protocol own` in bfloat16 from the pre-trained and from an untrained encoder: "
        f"{EPOCHS[1]} epochs of 8 steps at least, with all clips {EPOCHS[0]} epochs, the best epoch and the "
        f"best rate of {rates} by validation clips (with one clip a class that of the recipe, "
        f"{OWN[0]:g}). Two draws of training clips, with all of them one training. ESC-10: draw i is "
        "tested on fold i, so the row `all` is fold 1 alone. 95% bootstrap intervals over test clips; the "
        "difference is paired.",
        tuned_table(bench),
    ]
    path.write_text("\n\n".join(sections) + "\n")


def probe_table(bench: Bench) -> str:
    lines = ["| task | clips a class | " + " | ".join(PROBED) + " |", "|---" * (2 + len(PROBED)) + "|"]
    for task, (_, title) in TASKS.items():
        for shots in bench.probed(task):
            points = [bench.probe(task, shots, name) for name in PROBED]
            lines.append(f"| {title} | {shots or 'all'} | " + " | ".join(map(cell, points)) + " |")
    return "\n".join(lines)


def tuned_table(bench: Bench) -> str:
    lines = ["| task | clips a class | fine-tuned | from scratch | difference | rates |", "|---" * 6 + "|"]
    for task, (_, title) in TASKS.items():
        for shots in SHOTS:
            if not all(bench.has(task, shots, name) for name in STARTS):
                continue
            ours, scratch = (bench.tuned(task, shots, name) for name in STARTS)
            gaps = np.array([ours.correct[clip] - scratch.correct[clip] for clip in ours.correct])
            low, high = interval(resampled_means(gaps, 0))
            difference = f"{gaps.mean():+.3f} ({low:+.3f} to {high:+.3f})"
            rates = f"{ours.rate:g}, {scratch.rate:g}"
            lines.append(
                f"| {title} | {shots or 'all'} | {cell(ours)} | {cell(scratch)} | {difference} | {rates} |"
            )
    return "\n".join(lines)


def cell(point: Point) -> str:
    return f"{point.value:.3f} ({point.low:.3f} to {point.high:.3f})"


def draw(bench: Bench, path: Path) -> None:
    figure, axes = plt.subplots(1, len(TASKS), figsize=(14, 3.4), layout="constrained", sharey=True)
    for axis, (task, (_, title)) in zip(axes, TASKS.items(), strict=True):
        known = bench.probed(task)
        for name, style in zip(PROBED, (":", "--", "-"), strict=True):
            points = [bench.probe(task, shots, name) for shots in known]
            bars = [[p.value - p.low for p in points], [p.high - p.value for p in points]]
            values = [p.value for p in points]
            axis.errorbar(range(len(known)), values, bars, ls=style, marker="o", ms=3, label=name)
        axis.set_xticks(range(len(known)), [str(shots or "all") for shots in known])
        axis.set(title=title, xlabel="training clips a class")
        axis.grid(alpha=0.25)
    axes[0].set_ylabel("accuracy")
    axes[-1].legend(fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
