"""Four tasks by `--protocol simple`, on dev splits for choosing or on the published test parts.

    python benchmarks/dev.py MODEL ... [--data DATA] [--test] [--shots 5 10] [--pooling P] [--levels L]

A row a model, with logistic regression / nearest neighbours; after it the first model against each of the
others, by a paired bootstrap over the clips of all four tasks. MODEL is what --model takes, and may bring a
read-out of its own: `runs/mine,pooling=statistics,levels=stem`. DATA (default: $ATST_TEST_DATA) holds
tasks/esc10, tasks/fsdd and tasks/gmnotes. No clip of the test
parts is in the dev splits:

- ESC-10: folds 1 to 3 among themselves;
- digits (fsdd-by-speaker): recordings 10 to 49 alone, a speaker held out;
- families: five folds within train and valid, the notes of a program in one of them;
- pitch: five folds within train and valid.

With --shots the figures are means over --draws draws of so many training clips of each class.
"""

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from atst.evaluation.features import prepare
from atst.evaluation.few_shot import SEEDS
from atst.evaluation.simple import fit, neighbours
from atst.model import load as models
from atst.model.baselines import BASELINES
from atst.output.markup import markdown
from atst.scoring.metrics import interval, resampled_means
from atst.scoring.splits import FewShot, train_test_splits
from atst.tasks import Task, load_task
from atst.tasks.division import grouped_folds

TASKS = {  # by the names of the columns: the registered task and its folder
    "ESC-10": ("esc10", "esc10"),
    "digits": ("fsdd-by-speaker", "fsdd"),
    "families": ("gmnotes", "gmnotes"),
    "pitch": ("gmnotes-pitch", "gmnotes"),
}
METHODS = ("logistic regression", "nearest neighbours")
Right = list[NDArray[np.float64]]  # of each fold, (2, m): how often each method had clip i right, in 0..1


@dataclass
class Measured:
    """A model's results on all tasks; `right` by the name of the task."""

    name: str
    values: int
    right: dict[str, Right]

    def figures(self, task: str) -> NDArray[np.float64]:
        """(2,) accuracies: the mean over folds, of each method."""
        return np.mean([fold.mean(1) for fold in self.right[task]], axis=0)

    def mean(self, method: int) -> float:
        """A method's accuracy, the mean over tasks."""
        return float(np.mean([self.figures(task)[method] for task in self.right]))

    def row(self) -> list[str]:
        """Its line in the table."""
        figures = [self.figures(task) for task in self.right]
        return [self.name, str(self.values), *map(_text, [*figures, np.mean(figures, axis=0)])]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="+")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("ATST_TEST_DATA", "../shared/data")))
    parser.add_argument("--test", action="store_true")
    parser.add_argument("--shots", nargs="*", type=int, default=[])
    parser.add_argument("--draws", type=int, default=SEEDS)
    parser.add_argument("--pooling")
    parser.add_argument("--levels")
    parser.add_argument("--seed", type=int, default=0, help="of models named random:SIZE")
    options = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", torch.get_num_threads())))
    given = {key: getattr(options, key) for key in ("pooling", "levels") if getattr(options, key)}
    tasks = load_tasks(options.data, options.test)
    part = "test parts" if options.test else "dev splits"
    for few_shot in map(FewShot, options.shots) if options.shots else (None,):
        labels = "all labels" if few_shot is None else few_shot.description
        print(f"\n{part}, {labels}: {' / '.join(METHODS)}\n", flush=True)
        draws = 1 if few_shot is None else options.draws
        measured = [measure(name, given, tasks, few_shot, draws, options.seed) for name in options.models]
        print(markdown(["features", "values", *TASKS, "mean"], [model.row() for model in measured]))
        for other in measured[1:]:
            print(f"\n{measured[0].name} minus {other.name}, 95% interval over clips\n")
            print(markdown(["", *TASKS, "mean"], differences(measured[0], other)), flush=True)


def measure(
    described: str,
    given: dict[str, Any],
    tasks: dict[str, Task],
    few_shot: FewShot | None = None,
    draws: int = 1,
    seed: int = 0,
    columns: Sequence[int] | slice = slice(None),
) -> Measured:
    """All tasks with one model; `given` is its read-out where its name says no other, and `columns` of it."""
    name, *own = described.split(",")
    model = models.load(name, seed=seed)
    readout = {} if name in BASELINES else given | dict(pair.split("=", 1) for pair in own)
    right, values = {}, 0
    for title, task in tasks.items():
        data = prepare(model, task, device="cpu", few_shot=few_shot, **readout)
        data = replace(data, features=data.features[:, columns])
        values = data.features.shape[1]
        drawn = [_right(data.resplit(draw, train_test_splits)) for draw in range(draws)]
        right[title] = [np.mean(fold, axis=0) for fold in zip(*drawn, strict=True)]
    label = " ".join([name, *(f"{key}={value}" for key, value in readout.items())])
    return Measured(label, values, right)


def differences(model: Measured, other: Measured) -> list[list[str]]:
    """A row a method: the difference of each task, and of the mean over tasks."""
    return [
        [
            name,
            *(f"{gain:+.3f} ({low:+.3f} to {high:+.3f})" for gain, low, high in gains(model, other, method)),
        ]
        for method, name in enumerate(METHODS)
    ]


def gains(model: Measured, other: Measured, method: int) -> list[tuple[float, float, float]]:
    """A method's difference on each task, then of the mean over tasks, each with its 95% interval."""
    gain = [(model.figures(task) - other.figures(task))[method] for task in TASKS]
    draws = [_resampled(model.right[task], other.right[task], method, i) for i, task in enumerate(TASKS)]
    columns = zip([*gain, np.mean(gain)], [*draws, np.mean(draws, axis=0)], strict=True)
    return [(float(value), *interval(drawn)) for value, drawn in columns]


def _resampled(model: Right, other: Right, method: int, number: int) -> NDArray[np.float64]:
    """The difference on each draw of a task's clips, fold by fold."""
    folds = zip(model, other, strict=True)
    seeds = (100 * number + fold for fold in range(len(model)))
    return np.mean(
        [resampled_means(a[method] - b[method], seed) for (a, b), seed in zip(folds, seeds, strict=True)],
        axis=0,
    )


def _right(data: Any) -> Right:
    found = []
    for train, test in zip(data.splits.train.T, data.splits.test.T, strict=True):
        scores = (data.logits(fit(data, train), test), neighbours(data, train, test))
        found.append(
            torch.stack([each.argmax(1) == data.labels_of(test) for each in scores]).double().numpy()
        )
    return found


def _text(figures: Sequence[float]) -> str:
    return " / ".join(f"{value:.3f}".removeprefix("0") for value in figures)


def load_tasks(data: Path, test: bool = False) -> dict[str, Task]:
    """By their names: the published parts if `test`, else the clips for choosing."""
    tasks = {name: load_task(task, data / "tasks" / folder) for name, (task, folder) in TASKS.items()}
    return tasks if test else {name: dev_task(task, name) for name, task in tasks.items()}


def dev_task(task: Task, name: str) -> Task:
    """The clips for choosing, in folds."""
    if name == "digits":
        return replace(_some(task, ~task.tested), tested=None)
    if name == "ESC-10":
        return _some(task, task.folds <= 3)
    task = _some(task, task.splits != "test")
    programs = [file.split("__")[1] for file in task.names] if name == "families" else task.names
    groups = np.unique(programs, return_inverse=True)[1]
    return replace(task, splits=None, folds=grouped_folds(task.labels, groups, seed=0))


def _some(task: Task, clips: NDArray[np.bool_]) -> Task:
    arrays = {
        key: value[clips]
        for key in ("labels", "splits", "folds")
        if (value := getattr(task, key)) is not None
    }
    return replace(task, names=[task.names[i] for i in np.flatnonzero(clips)], **arrays)


if __name__ == "__main__":
    main()
