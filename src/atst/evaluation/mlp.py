"""A shallow network on frozen features, trained until its validation metric stops rising.

As HEAR trains it (Turian et al. 2022, arXiv 2203.03022, downstream training): 1 or 2 hidden layers of
1024, each linear, BatchNorm, ReLU, dropout, then a linear output; Adam; Xavier initialisation.
"""

import itertools
import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.utils import fuse_linear_bn_eval

from atst.errors import TrainingError
from atst.evaluation.lazy import Embeddings, apply, select
from atst.evaluation.sweep import epoch_batches
from atst.model.classifier import Head
from atst.model.matmul import fast_products
from atst.scoring.metrics import score

WIDTH = 1024
DROPOUT = 0.1
BATCH = 1024
EPOCHS = 500  # at most
EVERY = 3  # epochs from one validation to the next
PATIENCE = 20  # validations without a better metric, after which training stops


@dataclass(frozen=True)
class Point:
    """A point of the grid: the hyperparameters that are searched."""

    hidden: int  # layers of WIDTH
    learning_rate: float  # of Adam
    init: Literal["xavier_uniform", "xavier_normal"]


GRID = tuple(
    Point(hidden, learning_rate, init)
    for hidden in (1, 2)
    for learning_rate in (3.2e-3, 1e-3, 3.2e-4, 1e-4)
    for init in ("xavier_uniform", "xavier_normal")
)


@dataclass
class Trained:
    """A network at its best validation, and its history."""

    point: Point
    head: Head  # on the CPU
    epoch: int  # epochs behind them
    metric: float  # on the validation clips, NaN without
    loss: float  # on the validation clips, NaN without
    train_loss: list[float]  # of each epoch that was trained
    valid_metric: list[float]  # of every third of them; -1 if it diverged

    @property
    def rank(self) -> tuple[float, float]:
        """Larger is better: the metric, and of equal ones the smaller loss."""
        return self.metric, -self.loss


@dataclass
class Search:
    """The networks of a search over the grid."""

    tried: list[Trained]  # each grid point, on the first fold
    folds: list[Trained]  # the selected one, on each fold


@fast_products()
def train(
    features: Embeddings,
    labels: Tensor,
    classes: int,
    point: Point,
    train_rows: Tensor,
    valid_rows: Tensor | None = None,
    *,
    epochs: int | None = None,
    seed: int = 0,
) -> Trained:
    """Train one network; keep its best validated state, or without validation the one after `epochs`.

    Args:
        features: (n, D) float32, on the device that trains; they are not normalised.
        labels: (n,) classes for cross-entropy and accuracy, or multi-hot (n, C) for binary cross-entropy
            and mAP; on the same device.
        classes: C.
        point: layers, learning rate and initialisation.
        train_rows, valid_rows: (n,) bool.
        epochs: most epochs; by default 500. An epoch is cut into the fewest batches of 1024 at most.
        seed: of the initial weights, the order of the data and dropout.

    Raises:
        TrainingError: there are fewer than two training clips, so no batch statistics.
    """
    rows = train_rows.nonzero()[:, 0].to(features.device)
    validation = None
    if valid_rows is not None:
        held_out = valid_rows.nonzero()[:, 0].to(features.device)
        validation = select(features, held_out), labels[held_out]
    if len(rows) < 2:
        raise TrainingError("BatchNorm needs two training clips at least; there is one.")
    steps = math.ceil(len(rows) / BATCH)
    devices = [features.device] if features.device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        torch.manual_seed(seed)
        network = _network(features.shape[1], classes, point).to(features.device)
        optimiser = torch.optim.Adam(network.parameters(), lr=point.learning_rate)
        best = Trained(point, Head([]), 0, -math.inf, math.nan, [], [])
        since = 0  # validations without a better metric
        for epoch in range(1, (epochs or EPOCHS) + 1):
            batches = epoch_batches(rows, steps, epoch, seed)
            best.train_loss.append(
                sum(_step(network, optimiser, features, labels, clips) for clips in batches) / steps
            )
            if validation is None or epoch % EVERY:
                continue
            metric, loss = _validate(network, *validation)
            best.valid_metric.append(metric)
            since = 0 if metric > best.metric else since + 1
            if since == 0:
                best.head, best.epoch, best.metric, best.loss = folded(network), epoch, metric, loss
            elif since == PATIENCE:
                break
    if validation is None:
        best.head, best.epoch, best.metric = folded(network), epoch, math.nan
    return best


def folded(network: nn.Sequential) -> Head:
    """Its affine layers in eval mode on the CPU, each BatchNorm made part of the linear layer before it."""
    network = network.eval()
    layers = []
    for layer, following in itertools.pairwise([*network, nn.Identity()]):
        if isinstance(layer, nn.Linear):
            fused = fuse_linear_bn_eval(layer, following) if isinstance(following, nn.BatchNorm1d) else layer
            layers.append((fused.weight.detach().clone().cpu(), fused.bias.detach().clone().cpu()))
    return Head(layers)


def _network(width: int, classes: int, point: Point) -> nn.Sequential:
    layers: list[nn.Module] = []
    for _ in range(point.hidden):
        layers += [nn.Linear(width, WIDTH), nn.BatchNorm1d(WIDTH), nn.ReLU(), nn.Dropout(DROPOUT)]
        width = WIDTH
    layers.append(nn.Linear(width, classes))
    initialise = nn.init.xavier_uniform_ if point.init == "xavier_uniform" else nn.init.xavier_normal_
    for layer in layers:
        if isinstance(layer, nn.Linear):
            initialise(layer.weight)
            nn.init.zeros_(layer.bias)
    return nn.Sequential(*layers)


def _step(
    network: nn.Sequential,
    optimiser: torch.optim.Optimizer,
    features: Embeddings,
    labels: Tensor,
    rows: Tensor,
) -> float:
    network.train()
    loss = _loss(network(features[rows]), labels[rows])
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
    return loss.item()


def _loss(logits: Tensor, labels: Tensor) -> Tensor:
    if labels.ndim == 1:
        return nn.functional.cross_entropy(logits, labels)
    return nn.functional.binary_cross_entropy_with_logits(logits, labels.to(logits.dtype))


@torch.no_grad()
def _validate(network: nn.Sequential, features: Embeddings, labels: Tensor) -> tuple[float, float]:
    """Metric and loss of these clips; -1 and inf where there is none."""
    network.eval()
    logits = apply(network, features)
    loss = _loss(logits, labels).item()
    metric = float(score("accuracy" if labels.ndim == 1 else "mAP", logits, labels))
    if not math.isfinite(loss):
        return -1.0, math.inf
    return (-1.0 if math.isnan(metric) else metric), loss
