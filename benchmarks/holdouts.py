"""What repeated hold-out gains with few training clips, against one hold-out.

    python benchmarks/holdouts.py --data DATA [--model logmel] [--tasks NAME ...] [--shots N ...] [--draws 5]

DATA holds tasks/esc10, tasks/fsdd and tasks/gmnotes. The same draws of training clips either way, the same
features, the same test clips: the linear probe's accuracy, and the difference with a 95% interval over draws.
"""

import argparse
from pathlib import Path

import numpy as np
from scipy import stats

from atst.evaluation.features import prepare
from atst.evaluation.linear import linear_probe
from atst.model import load as models
from atst.scoring import splits
from atst.scoring.splits import FewShot
from atst.tasks import load_task

TASKS = {"esc10": "esc10", "fsdd": "fsdd", "gmnotes": "gmnotes", "gmnotes-pitch": "gmnotes"}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default="logmel")
    parser.add_argument("--tasks", nargs="*", choices=TASKS, default=list(TASKS))
    parser.add_argument("--shots", nargs="*", type=int, default=[2, 5, 10, 20])
    parser.add_argument("--draws", type=int, default=5)
    options = parser.parse_args()
    model = models.load(options.model)
    minimum = splits.MIN_VALID_CLIPS
    print("| task | clips a class | one hold-out | repeated | difference |\n|---|---|---|---|---|")
    for name in options.tasks:
        task = load_task(name, options.data / "tasks" / TASKS[name])
        for shots in options.shots:
            data, found = prepare(model, task, few_shot=FewShot(shots)), []
            for splits.MIN_VALID_CLIPS in (1, minimum):
                probes = [linear_probe(data.resplit(draw)) for draw in range(options.draws)]
                found.append(np.array([probe.result.value for probe in probes]))
            gain = found[1] - found[0]
            half = stats.t.ppf(0.975, len(gain) - 1) * gain.std(ddof=1) / np.sqrt(len(gain))
            print(
                f"| {name} | {shots} | {found[0].mean():.3f} | {found[1].mean():.3f} | {gain.mean():+.3f} "
                f"({gain.mean() - half:+.3f} to {gain.mean() + half:+.3f}) |",
                flush=True,
            )


if __name__ == "__main__":
    main()
