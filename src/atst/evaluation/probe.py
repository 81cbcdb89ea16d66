"""The linear probe of the paper: how much a linear layer gets out of frozen features."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from atst import device as devices
from atst.evaluation import sweep
from atst.evaluation.calibration import expected_calibration_error, fit_temperature
from atst.evaluation.features import CLIP_SECONDS, POOLING, Features, extract
from atst.evaluation.heads import Head, Labelled, kept_head
from atst.evaluation.knn import NEIGHBOURS
from atst.evaluation.metrics import interval
from atst.evaluation.parts import Few, Parts, divide
from atst.evaluation.results import Choice, ProbeResult
from atst.tasks import Task

RATES = tuple(float(f"{rate:.2g}") for rate in np.logspace(-5, 0, 12))  # for a batch of 256


@dataclass
class Probe:
    """A finished probe: its result, and what its files and report are made from."""

    result: ProbeResult
    task: Task
    features: Features
    parts: Parts
    sweep: sweep.Sweep
    tested: NDArray[np.int64]  # (m,) rows of `features`, fold by fold
    logits: Tensor  # (m, C) of them
    calibrated: Tensor  # (m, C) divided by the temperature of their fold
    head: Head


def linear_probe(
    model: Any,
    task: Task,
    *,
    seed: int = 0,
    cache: bool = True,
    device: str = "auto",
    few: Few | None = None,
    features: Features | None = None,
) -> Probe:
    """Train linear classifiers on frozen features and measure them on the test clips.

    BatchNorm without affine and a linear layer, SGD with momentum 0.9, 100 epochs, batch 1024, cosine to 0.
    Rate and epoch are the best on validation clips; the test clips are used once, after that. Where the
    validation clips had to be held out of the training clips, the classifier that is tested is trained
    again on both, with the chosen rate and as many epochs. A temperature is fitted on the validation clips.

    Args:
        model: anything with the `embed`, `depth`, `name` and `fingerprint` of a model.
        task: the labelled clips.
        seed: of the initial weights, the order of the data, held-out clips and the bootstrap.
        cache: whether features are kept on disk and read back.
        device: `auto`, `cpu`, `cuda` or `mps`; where the classifiers are trained.
        few: how many labels may be used, to choose and to train; the seed draws them. Where there is only
            one of each class, none is left to choose on: the middle rate is taken, and all epochs.
        features: those of the task's clips, if they have been extracted already.
    """
    where = devices.resolve(device)
    features = features or extract(model, task, cache)
    parts = divide(task, features.rows, seed, few)
    labels = torch.from_numpy(task.labels[features.rows]).to(where)
    data = Labelled(torch.from_numpy(features.values).to(where), labels, task, seed)
    grid, swept = _sweep(data, parts, list(task.rates or RATES))
    best = [swept.best(fold) for fold in range(parts.count)]  # (index of the rate, epoch)
    heads = _heads_to_test(data, parts, swept, [grid[rate] for rate, _ in best], best)
    logits = [data.logits(head, test) for head, test in zip(heads, parts.test.T, strict=True)]
    chosen = _choices(data, parts, swept, grid, best, logits)
    calibrated = torch.cat([own / choice.temperature for own, choice in zip(logits, chosen, strict=True)])
    one_fold = parts.folds is None or few is not None  # else the kept head is trained on all of them
    draws = [data.bootstrap(logits[fold], test, fold) for fold, test in enumerate(parts.test.T)]
    result = ProbeResult(
        task=task.name,
        model=model.name,
        protocol="paper",
        pooling=POOLING,
        layers=model.depth,
        metric=task.metric,
        value=float(np.mean([choice.value for choice in chosen])),
        ci=interval(np.mean(draws, axis=0)),
        seed=seed,
        chosen_on=_chosen_on(parts, few),
        rates=grid,
        chosen=chosen,
        knn=_knn(data, parts),
        clips=len(features.rows),
        skipped=features.skipped,
        warnings=_warnings(features, task, [rate for rate, _ in best], grid) + _scarce(data, parts, few),
        fingerprint=model.fingerprint,
        settings={"clip_seconds": CLIP_SECONDS, "epochs": sweep.EPOCHS, "batch": sweep.BATCH},
        calibration={
            "temperature": _kept_temperature(data, parts, swept, grid, chosen, one_fold),
            **_calibration(data, parts, torch.cat(logits), calibrated),
        },
        trained_on="all training clips" if few is None else few.words,
    )
    order = np.concatenate([np.flatnonzero(test) for test in parts.test.T])
    head = heads[0] if one_fold else _head_of_all(data, chosen)
    if few is not None:
        head.trained_on = _drawn(few, parts, seed)
    return Probe(result, task, features, parts, swept, order, torch.cat(logits), calibrated, head)


def _sweep(data: Labelled, parts: Parts, grid: list[float]) -> tuple[list[float], sweep.Sweep]:
    """The rates that were tried, the middle one if there is nothing to choose on, and what training gave."""
    if parts.valid.any():
        return grid, data.train(parts.train, [grid] * parts.count, valid_rows=torch.from_numpy(parts.valid))
    grid = [grid[len(grid) // 2]]
    stop = torch.full((parts.count, 1), sweep.EPOCHS)
    return grid, data.train(parts.train, [grid] * parts.count, stop=stop)


def _validation_logits(data: Labelled, parts: Parts, swept: sweep.Sweep, rates: list[int]) -> list[Tensor]:
    """(n, C) of each fold's validation clips, by its head of that rate."""
    heads = [kept_head(swept.heads, fold, rate, "") for fold, rate in enumerate(rates)]
    return [data.logits(head, valid) for head, valid in zip(heads, parts.valid.T, strict=True)]


def _kept_temperature(
    data: Labelled, parts: Parts, swept: sweep.Sweep, grid: list[float], chosen: list[Choice], one_fold: bool
) -> float:
    """Of the head that is kept: the fold's own, or fitted on all folds' heads of nearly its rate.

    Logits of other rates are of other sizes: one temperature for all of them would fit none.
    """
    if one_fold:
        return chosen[0].temperature
    nearest = int(np.abs(np.log(grid) - np.log(_middle_rate(chosen))).argmin())
    logits = _validation_logits(data, parts, swept, [nearest] * parts.count)
    return fit_temperature(torch.cat(logits), torch.cat([data.labels_of(valid) for valid in parts.valid.T]))


def _calibration(data: Labelled, parts: Parts, logits: Tensor, calibrated: Tensor) -> dict[str, float]:
    """What the folds' temperatures did to their scores of the test clips."""
    truth = torch.cat([data.labels_of(test) for test in parts.test.T])
    return {
        "expected_calibration_error_before": expected_calibration_error(logits, truth),
        "expected_calibration_error_after": expected_calibration_error(calibrated, truth),
    }


def _middle_rate(chosen: list[Choice]) -> float:
    return float(np.exp(np.median(np.log([choice.rate for choice in chosen]))))


def _knn(data: Labelled, parts: Parts) -> dict[str, Any]:
    """Nearest neighbours among the training clips (and those held out of them), on the test clips."""
    known = parts.train | parts.valid if parts.held_out else parts.train
    values = [data.knn(train, test) for train, test in zip(known.T, parts.test.T, strict=True)]
    return {"value": float(np.mean(values)), "k": NEIGHBOURS, "distance": "cosine of the plain features"}


def _heads_to_test(
    data: Labelled, parts: Parts, swept: sweep.Sweep, rates: list[float], best: list[tuple[int, int]]
) -> list[Head]:
    """Of each fold the chosen head; trained again if clips were held out of its training."""
    if not parts.held_out:
        return [kept_head(swept.heads, fold, rate, "training clips") for fold, (rate, _) in enumerate(best)]
    stop = torch.tensor([[epoch] for _, epoch in best])
    heads = data.train(parts.train | parts.valid, [[rate] for rate in rates], stop=stop).heads
    return [kept_head(heads, fold, 0, "training and held-out clips") for fold in range(parts.count)]


def _head_of_all(data: Labelled, chosen: list[Choice]) -> Head:
    """A head for use, trained on all clips with the folds' median rate and epoch."""
    everything = np.ones((len(data.labels), 1), dtype=bool)
    epoch = round(float(np.median([choice.epoch for choice in chosen])))
    heads = data.train(everything, [[_middle_rate(chosen)]], stop=torch.tensor([[epoch]])).heads
    return kept_head(
        heads, 0, 0, "all labelled clips, test folds included: the metric was measured on other heads"
    )


def _choices(
    data: Labelled,
    parts: Parts,
    swept: sweep.Sweep,
    grid: list[float],
    best: list[tuple[int, int]],
    logits: list[Tensor],
) -> list[Choice]:
    validation = _validation_logits(data, parts, swept, [rate for rate, _ in best])
    return [
        Choice(
            fold=parts.folds[fold] if parts.folds else None,
            rate=grid[rate],
            epoch=epoch,
            valid=_rounded(float(swept.valid_metric[epoch - 1, fold, rate])),
            value=data.score(logits[fold], parts.test[:, fold]),
            temperature=fit_temperature(validation[fold], data.labels_of(parts.valid[:, fold])),
            clips={part: int(getattr(parts, part)[:, fold].sum()) for part in ("train", "valid", "test")},
        )
        for fold, (rate, epoch) in enumerate(best)
    ]


def _rounded(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 6)


def _chosen_on(parts: Parts, few: Few | None) -> str:
    if not parts.valid.any():
        return "nothing: with one label a class none is left; the middle rate was taken, and all epochs"
    if few is not None:
        return f"{parts.held_out}, held out; then trained again on all that were drawn"
    if not parts.held_out:
        return "the validation split"
    return f"{parts.held_out}, held out; then trained again on all training clips"


def _warnings(features: Features, task: Task, best: list[int], grid: list[float]) -> list[str]:
    warnings = []
    if features.skipped:
        warnings.append(f"{len(features.skipped)} of {len(task)} clips could not be read and were skipped.")
    if task.missing:
        warnings.append(f"{len(task.missing)} labelled clips have no file and were left out.")
    edges = sorted({grid[rate] for rate in best if rate in (0, len(grid) - 1)})
    if edges and not task.rates and len(grid) > 1:
        where = (
            f" in {sum(grid[rate] in edges for rate in best)} of {len(best)} folds" if len(best) > 1 else ""
        )
        tried = ", ".join(f"{rate:g}" for rate in edges)
        warnings.append(f"The best learning rate is at the edge of those tried ({tried}){where}.")
    return warnings


def _drawn(few: Few, parts: Parts, seed: int) -> str:
    where = "" if parts.folds is None else f", none of them in fold {parts.folds[0]}"
    return f"{few.words}, drawn with seed {seed}{where}"


def _scarce(data: Labelled, parts: Parts, few: Few | None) -> list[str]:
    """A class with fewer clips than the shots asked for is not what the number says."""
    if few is None or few.shots is None:
        return []
    drawn = parts.train | parts.valid
    counts = np.stack([np.bincount(data.labels_of(own).numpy(), minlength=data.classes) for own in drawn.T])
    scarce = int((counts < few.shots).any(0).sum())
    return [f"{scarce} classes have fewer than {few.shots} training clips; all were used."] if scarce else []
