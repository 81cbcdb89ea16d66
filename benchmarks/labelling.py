"""How many labels the loop of `atst label` needs, against random picking: for docs/labelling.md.

    python benchmarks/labelling.py --data DIR --task esc10 --task gmnotes --out docs/images/labelling.png

The clips of the training splits are the library; labels are given as the data set has them. What is asked
for, what is held back and the classifier are those of `atst label`. It is trained after every second label
that it trains on, from 60 labels on after every twentieth part of them (the page trains after each). Then its
accuracy is measured on the test split, which nothing else sees.
The number of labels, held-back ones included, is the first from which three measurements in a row reach 95%
of the accuracy of the same classifier with all labels.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from atst.evaluation.features import extract
from atst.library.label_table import TEST, share_held_back
from atst.library.learning import learn
from atst.library.picking import DOUBTFUL, Picker
from atst.model.load import load
from atst.tasks import Task, load_task

GOAL, IN_A_ROW = 0.95, 3
RULES = {"random": 1, "doubt": 2}  # every how many-th stretch is drawn at random


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with the tasks' folders")
    parser.add_argument("--task", action="append", required=True)
    parser.add_argument("--model", default="functionals")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--most", type=int, default=1000, help="labels after which a run is given up")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    curves = {}
    for name in options.task:
        task = load_task(options.data / name)
        features = extract(load(options.model), task)
        goals: dict[int, float] = {}  # by test split
        for rule, spread in RULES.items():
            runs = [
                simulate(task, features.values.numpy(), features.rows, spread, seed, options.most, goals)
                for seed in range(options.seeds)
            ]
            curves[name, rule] = runs
            needed = [run["needed"] for run in runs]
            print(
                json.dumps({"task": name, "rule": rule, "needed": needed, "mean": np.mean(needed)}),
                flush=True,
            )
    if options.out:
        plot(curves, options.task, options.out)


def simulate(
    task: Task, features: NDArray, rows: NDArray, spread: int, seed: int, most: int, goals: dict[int, float]
) -> dict[str, object]:
    """One person's labelling; the test clips are those of the fold after `seed`, or of the test split."""
    test = task.folds[rows] == seed + 1 if task.folds is not None else task.splits[rows] == "test"
    names = [[task.label_names[label]] for label in task.labels[rows]]
    mean, std = features[~test].mean(0), features[~test].std(0) + 1e-6
    x = ((features - mean) / std).astype(np.float32)
    pool = np.flatnonzero(~test)
    x_test, names_test = x[test], [names[i] for i in np.flatnonzero(test)]

    def accuracy(own: list[int]) -> float | None:
        learned = learn(x[pool[own]], [names[pool[i]] for i in own], False)
        if learned is None:
            return None
        if spread > 1:
            picker.follow(learned)
        measured = learned.accuracy(x_test, names_test)
        return measured.right / measured.total

    picker = Picker(x[pool], seed, spread)
    if (goal := goals.get(seed if task.folds is not None else 0)) is None:
        goal = goals[seed if task.folds is not None else 0] = GOAL * accuracy(list(range(len(pool))))
        picker.follow(None)
    free, own, held, curve = np.ones(len(pool), bool), [], [], []
    while free.any() and len(own) + len(held) < most:
        number, reason = picker.next(free)
        free[number] = False
        alike = [i in held for i in [*own, *held] if names[pool[i]] == names[pool[number]]]
        if share_held_back(alike, typical=reason != DOUBTFUL) == TEST:
            held.append(number)
            continue
        own.append(number)
        if len(own) % max(2, len(own) // 20) == 0 and (value := accuracy(own)) is not None:
            curve.append((len(own) + len(held), value))
            if len(curve) >= IN_A_ROW and all(value >= goal for _, value in curve[-IN_A_ROW:]):
                return {"needed": curve[-IN_A_ROW][0], "goal": goal, "curve": curve}
    return {"needed": min(most, len(pool)), "goal": goal, "curve": curve}


def plot(curves: dict, tasks: list[str], out: Path) -> None:
    """Accuracy over labels, a line a seed, and the goal."""
    figure = Figure(figsize=(4.2 * len(tasks), 3.2), layout="constrained")
    for axes, name in zip(np.atleast_1d(figure.subplots(1, len(tasks))), tasks, strict=True):
        for (task, rule), runs in curves.items():
            for number, run in enumerate(runs if task == name else []):
                colour = {"random": "tab:gray", "doubt": "tab:blue"}[rule]
                label = {"random": "at random", "doubt": "by doubt"}[rule] if number == 0 else None
                axes.plot(*zip(*run["curve"], strict=True), color=colour, alpha=0.7, lw=1, label=label)
        goal = np.mean([run["goal"] for (task, _), runs in curves.items() if task == name for run in runs])
        axes.axhline(goal, color="k", lw=0.8, ls=":")
        axes.set(title=name, xlabel="labels, held-back ones included", ylabel="accuracy on the test clips")
        axes.legend(loc="lower right")
    figure.savefig(out, dpi=110)


if __name__ == "__main__":
    main()
