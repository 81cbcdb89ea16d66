"""The linear probe of the paper: how much a linear layer gets out of frozen features."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from atst import device as devices
from atst.evaluation import sweep
from atst.evaluation.features import CLIP_SECONDS, POOLING, Features, extract
from atst.evaluation.knn import NEIGHBOURS, knn_scores
from atst.evaluation.metrics import bootstrap_values, interval, score
from atst.evaluation.parts import Parts, divide
from atst.tasks import Task

RATES = tuple(float(f"{rate:.2g}") for rate in np.logspace(-5, 0, 12))  # for a batch of 256


@dataclass
class Choice:
    """What validation chose for one classifier, and how it then did on its test clips."""

    fold: int | None
    rate: float  # for a batch of 256
    epoch: int  # of 100
    valid: float  # the metric on the validation clips
    value: float  # the metric on the test clips
    clips: dict[str, int]  # in train, valid and test


@dataclass
class ProbeResult:
    """A probe's numbers, as `results.json` holds them; metrics are in 0..1."""

    task: str
    model: str
    protocol: str
    pooling: str
    layers: int
    metric: str
    value: float  # on the test clips; with folds the mean over them
    ci: tuple[float, float]  # 95% bootstrap interval over test clips
    seed: int
    chosen_on: str  # what rate and epoch were chosen on, and what was trained afterwards, in words
    rates: list[float]  # swept
    chosen: list[Choice]  # one for each fold
    knn: dict[str, Any]
    clips: int
    skipped: list[tuple[str, str]]  # (clip, reason)
    warnings: list[str]
    fingerprint: str  # of the model
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass
class Head:
    """The classifier to keep: logits = features @ weight.T + bias."""

    weight: Tensor  # (C, D)
    bias: Tensor  # (C,)
    trained_on: str  # in words


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
    head: Head


def linear_probe(model: Any, task: Task, *, seed: int = 0, cache: bool = True, device: str = "auto") -> Probe:
    """Train linear classifiers on frozen features and measure them on the test clips.

    BatchNorm without affine and a linear layer, SGD with momentum 0.9, 100 epochs, batch 1024, cosine to 0.
    Rate and epoch are the best on validation clips; the test clips are used once, after that. Where the
    validation clips had to be held out of the training clips, the classifier that is tested is trained
    again on both, with the chosen rate and as many epochs.

    Args:
        model: anything with the `embed`, `depth`, `name` and `fingerprint` of a model.
        task: the labelled clips.
        seed: of the initial weights, the order of the data, held-out clips and the bootstrap.
        cache: whether features are kept on disk and read back.
        device: `auto`, `cpu`, `cuda` or `mps`; where the classifiers are trained.
    """
    where = devices.resolve(device)
    features = extract(model, task, cache)
    parts = divide(task, features.rows, seed)
    labels = torch.from_numpy(task.labels[features.rows]).to(where)
    data = _Data(torch.from_numpy(features.values).to(where), labels, task, seed)
    grid = list(task.rates or RATES)
    swept = data.train(parts.train, [grid] * parts.count, valid_rows=torch.from_numpy(parts.valid))
    best = [swept.best(fold) for fold in range(parts.count)]  # (index of the rate, epoch)
    heads = _heads_to_test(data, parts, swept, [grid[rate] for rate, _ in best], best)
    logits = [data.logits(head, test) for head, test in zip(heads, parts.test.T, strict=True)]
    chosen = _choices(data, parts, swept, grid, best, logits)
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
        chosen_on=_chosen_on(parts),
        rates=grid,
        chosen=chosen,
        knn=_knn(data, parts),
        clips=len(features.rows),
        skipped=features.skipped,
        warnings=_warnings(features, task, [rate for rate, _ in best], grid),
        fingerprint=model.fingerprint,
        settings={"clip_seconds": CLIP_SECONDS, "epochs": sweep.EPOCHS, "batch": sweep.BATCH},
    )
    order = np.concatenate([np.flatnonzero(test) for test in parts.test.T])
    head = heads[0] if parts.folds is None else _head_of_all(data, chosen)
    return Probe(result, task, features, parts, swept, order, torch.cat(logits), head)


@dataclass
class _Data:
    """Features and labels on the device, and what is done with some of their rows."""

    features: Tensor  # (n, D)
    labels: Tensor  # (n,) or (n, C)
    task: Task
    seed: int

    @property
    def classes(self) -> int:
        return len(self.task.label_names)

    def train(self, rows: NDArray[np.bool_], rates: list[list[float]], **how: Any) -> sweep.Sweep:
        """Train on `rows` (n, F) with `rates` (F, R)."""
        masks = torch.from_numpy(rows)
        return sweep.train(
            self.features, self.labels, self.classes, masks, torch.tensor(rates), seed=self.seed, **how
        )

    def logits(self, head: Head, rows: NDArray[np.bool_]) -> Tensor:
        features = self.features[self._index(rows)]
        return (features @ head.weight.T.to(features.device) + head.bias.to(features.device)).cpu()

    def score(self, logits: Tensor, rows: NDArray[np.bool_]) -> float:
        return float(score(self.task.metric, logits, self.labels[self._index(rows)].cpu()))

    def bootstrap(self, logits: Tensor, rows: NDArray[np.bool_], fold: int) -> NDArray[np.float64]:
        return bootstrap_values(
            self.task.metric, logits, self.labels[self._index(rows)].cpu(), self.seed + fold
        )

    def knn(self, train: NDArray[np.bool_], test: NDArray[np.bool_]) -> float:
        known, asked = self._index(train), self._index(test)
        scores = knn_scores(self.features[known], self.labels[known], self.features[asked], self.classes)
        return self.score(scores.cpu(), test)

    def _index(self, rows: NDArray[np.bool_]) -> Tensor:
        return torch.from_numpy(np.flatnonzero(rows)).to(self.features.device)


def _knn(data: _Data, parts: Parts) -> dict[str, Any]:
    """Nearest neighbours among the training clips (and those held out of them), on the test clips."""
    known = parts.train | parts.valid if parts.held_out else parts.train
    values = [data.knn(train, test) for train, test in zip(known.T, parts.test.T, strict=True)]
    return {"value": float(np.mean(values)), "k": NEIGHBOURS, "distance": "cosine of the plain features"}


def _heads_to_test(
    data: _Data, parts: Parts, swept: sweep.Sweep, rates: list[float], best: list[tuple[int, int]]
) -> list[Head]:
    """Of each fold the chosen head; trained again if clips were held out of its training."""
    if not parts.held_out:
        return [_head(swept.heads, fold, rate, "training clips") for fold, (rate, _) in enumerate(best)]
    stop = torch.tensor([[epoch] for _, epoch in best])
    heads = data.train(parts.train | parts.valid, [[rate] for rate in rates], stop=stop).heads
    return [_head(heads, fold, 0, "training and held-out clips") for fold in range(parts.count)]


def _head_of_all(data: _Data, chosen: list[Choice]) -> Head:
    """A head for use, trained on all clips with the folds' median rate and epoch."""
    everything = np.ones((len(data.labels), 1), dtype=bool)
    middle = float(np.exp(np.median(np.log([choice.rate for choice in chosen]))))
    epoch = round(float(np.median([choice.epoch for choice in chosen])))
    heads = data.train(everything, [[middle]], stop=torch.tensor([[epoch]])).heads
    return _head(
        heads, 0, 0, "all labelled clips, test folds included: the metric was measured on other heads"
    )


def _head(heads: sweep.Heads, fold: int, rate: int, trained_on: str) -> Head:
    weight = heads.weight[:, fold, rate].T.contiguous().cpu()
    return Head(weight, heads.bias[fold, rate].contiguous().cpu(), trained_on)


def _choices(
    data: _Data,
    parts: Parts,
    swept: sweep.Sweep,
    grid: list[float],
    best: list[tuple[int, int]],
    logits: list[Tensor],
) -> list[Choice]:
    return [
        Choice(
            fold=parts.folds[fold] if parts.folds else None,
            rate=grid[rate],
            epoch=epoch,
            valid=round(float(swept.valid_metric[epoch - 1, fold, rate]), 6),
            value=data.score(logits[fold], parts.test[:, fold]),
            clips={part: int(getattr(parts, part)[:, fold].sum()) for part in ("train", "valid", "test")},
        )
        for fold, (rate, epoch) in enumerate(best)
    ]


def _chosen_on(parts: Parts) -> str:
    if not parts.held_out:
        return "the validation split"
    return f"{parts.held_out}, held out; then trained again on all training clips"


def _warnings(features: Features, task: Task, best: list[int], grid: list[float]) -> list[str]:
    warnings = []
    if features.skipped:
        warnings.append(f"{len(features.skipped)} of {len(task)} clips could not be read and were skipped.")
    edges = sorted({grid[rate] for rate in best if rate in (0, len(grid) - 1)})
    if edges and not task.rates:
        where = (
            f" in {sum(grid[rate] in edges for rate in best)} of {len(best)} folds" if len(best) > 1 else ""
        )
        tried = ", ".join(f"{rate:g}" for rate in edges)
        warnings.append(f"The best learning rate is at the edge of those tried ({tried}){where}.")
    return warnings
