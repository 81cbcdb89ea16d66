"""The linear probe with few labels, on several draws of them."""

from dataclasses import replace

import numpy as np

from atst.evaluation.features import extract
from atst.evaluation.linear import linear_probe
from atst.evaluation.result import Probe, SeedResult
from atst.model.embedder import Embedder
from atst.scoring.metrics import mean_interval
from atst.scoring.splits import FewShot
from atst.tasks import Task

SEEDS = 5


def few_shot_probe(
    model: Embedder,
    task: Task,
    few_shot: FewShot,
    *,
    seeds: int = SEEDS,
    seed: int = 0,
    cache: bool = True,
    device: str = "auto",
) -> Probe:
    """The linear probe with few labels, drawn `seeds` times; the mean, and a 95% interval over the draws.

    Seeds count up from `seed`; each draws the training clips, what is held out of them, the initial weights
    and the order. The interval is Student's t of the mean, so it tells how far the draws matter, not the test
    clips. With one seed it is the bootstrap over test clips. What the returned probe holds beside its
    result (logits, curves, head) is that of the first seed. Raises `UsageError` for shots of a multi-label
    task, whose clips belong to no one class.
    """
    few_shot.check(task)
    features = extract(model, task, cache)
    probes = [
        linear_probe(model, task, seed=seed + more, device=device, few_shot=few_shot, features=features)
        for more in range(seeds)
    ]
    first = probes[0]
    runs = [
        SeedResult(probe.result.seed, probe.result.value, probe.result.knn["value"], probe.result.selected)
        for probe in probes
    ]
    first.result = replace(first.result, seeds=runs)
    if seeds > 1:
        values = np.array([run.value for run in runs])
        first.result = replace(
            first.result,
            value=float(values.mean()),
            ci=mean_interval(values),
            ci_over=f"{seeds} draws of training clips",
            knn=first.result.knn | {"value": float(np.mean([run.knn for run in runs]))},
            warnings=sorted({warning for probe in probes for warning in probe.result.warnings}),
        )
    return first
