"""A probe with few labels, on several draws of them."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from atst.evaluation.features import ProbeData
from atst.evaluation.linear import linear_probe
from atst.evaluation.result import Probe, SeedResult
from atst.scoring.metrics import mean_interval

SEEDS = 5


def few_shot_probe(
    data: ProbeData, probe: Callable[[ProbeData], Probe] = linear_probe, seeds: int = SEEDS
) -> Probe:
    """A probe with few labels, drawn `seeds` times; the mean, and a 95% interval over the draws.

    Seeds count up from that of `data`; each draws the training clips, what is held out of them, the initial
    weights and the order. The interval is Student's t of the mean: it reflects the variation between
    draws, not between test clips. With one seed it is the bootstrap over test clips. Logits, curves and head
    of the returned probe are those of the first seed.
    """
    probes = [probe(data.resplit(data.seed + more) if more else data) for more in range(seeds)]
    first = probes[0]
    runs = [
        SeedResult(each.result.seed, each.result.value, each.result.knn["value"], each.result.selected)
        for each in probes
    ]
    first.result = replace(first.result, seeds=runs)
    if seeds > 1:
        values, neighbours = (np.array([getattr(run, name) for run in runs]) for name in ("value", "knn"))
        first.result = replace(
            first.result,
            value=float(values.mean()),
            ci=mean_interval(values),
            ci_over=f"{seeds} draws of training clips",
            knn=first.result.knn | {"value": float(neighbours.mean()), "ci": mean_interval(neighbours)},
            warnings=sorted({warning for each in probes for warning in each.result.warnings}),
        )
    return first
