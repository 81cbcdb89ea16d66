"""The linear probe, trained for every learning rate and every fold at once.

One step of a fold is one product of a normalised batch of features with the weights of all learning rates
side by side, and one back: the learning rates share the order of the data, hence the batch statistics; a fold
is a mask over the rows. What is as large as the features or the weights is passed over as few times as
possible: on a CPU that takes longer than the products.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from atst.evaluation.lazy import Embeddings, apply, select
from atst.model.classifier import Head, initial_weight
from atst.model.matmul import fast_products
from atst.scoring.metrics import AT_ONCE, score
from atst.training.schedules import MOMENTUM

EPOCHS = 100
BATCH = 1024
# Linear scaling rule; also with fewer clips than a batch, as in the code of the paper.
LEARNING_RATE_SCALE = BATCH / 256
BN_EPS, BN_MOMENTUM = 1e-5, 0.1
MOST_KEPT = 2**29  # bytes of normalised batches, where every epoch is the same one
IN_CACHE = 64  # rows
TINY = 1e-12  # smaller gradients are zero: a saturated softmax's are denormal, 100 times slower on a CPU


@dataclass
class Heads:
    """Affine maps from raw features to logits: BatchNorm in eval mode and the linear layer in one."""

    weight: Tensor  # (F, D, R, C)
    bias: Tensor  # (F, R, C)

    def logits(self, features: Tensor, fold: int, index: int = 0) -> Tensor:
        """(n, D) -> (n, C), by the head of that fold and of the learning rate at `index`."""
        return features @ self.weight[fold, :, index] + self.bias[fold, index]

    def head(self, fold: int, index: int = 0) -> Head:
        """The head of that fold and of the learning rate at `index`, on the CPU."""
        weight = self.weight[fold, :, index].T.contiguous().cpu()
        return Head([(weight, self.bias[fold, index].contiguous().cpu())])


@dataclass
class Sweep:
    """The result of training: the kept heads, and their history."""

    heads: Heads  # of each fold, in each of its hold-outs, and learning rate at `epochs`
    epochs: Tensor  # (F, R) epochs behind the kept heads, from 1
    train_loss: Tensor  # (E, F, R)
    valid_loss: Tensor  # (E, F, R), NaN without validation
    valid_metric: Tensor  # (E, F, R), NaN without validation

    def best(self, fold: int) -> tuple[int, int]:
        """(index of the learning rate, epoch) of the best validation metric, of equal ones the least loss."""
        epochs, every = self.epochs[fold], torch.arange(self.epochs.shape[1])
        metric = self.valid_metric[epochs - 1, fold, every].nan_to_num(nan=-1.0).tolist()
        loss = self.valid_loss[epochs - 1, fold, every].nan_to_num(nan=math.inf, posinf=math.inf).tolist()
        best = max(range(len(epochs)), key=lambda i: (metric[i], -loss[i]))
        return best, int(epochs[best])


@fast_products()
def train(
    features: Embeddings,
    labels: Tensor,
    classes: int,
    train_rows: Tensor,
    learning_rates: Tensor,
    valid_rows: Tensor | None = None,
    stop: Tensor | None = None,
    holdouts: int = 1,
    seed: int = 0,
    epochs: int = EPOCHS,
    batch: int = BATCH,
) -> Sweep:
    """Train heads for each fold and learning rate: BatchNorm without affine, linear layer, SGD, cosine to 0.

    With repeated hold-out a fold has several heads, which hold out different clips and keep the same epoch.

    Args:
        features: (n, D) float32, on the device to train on.
        labels: (n,) int64 for cross-entropy and accuracy; (n, C) for binary cross-entropy and mAP.
        classes: C.
        train_rows: (n, F * K) bool, the clips that train the head of each fold in each of its K hold-outs.
        learning_rates: (F, R) for a batch of 256.
        valid_rows: (n, F * K) bool; the epoch that is best over all hold-outs is kept.
        stop: (F, R) epoch to keep instead, from 1.
        holdouts: K.
        seed: of the initial weights and the order of the data.
        epochs: length of the cosine.
        batch: most clips in a step; an epoch is cut into the fewest steps, of equal size.
    """
    assert (valid_rows is None) != (stop is None), "the epoch is selected on validation clips, or given"
    steps = math.ceil(int(train_rows.sum(0).max()) / batch)
    each = learning_rates.repeat_interleave(holdouts, 0)
    state = _State(features, labels, classes, train_rows, each, seed, alike=steps == 1)
    shape = (epochs, *learning_rates.shape)
    train_loss = torch.zeros(shape)
    valid_loss, valid_metric = torch.full((2, *shape), math.nan)
    best = torch.full((2, *learning_rates.shape), -math.inf)  # metric, minus loss
    kept, kept_epochs = state.heads(), torch.ones(learning_rates.shape, dtype=torch.int64)
    for epoch in range(epochs):
        factor = (1 + math.cos(math.pi * epoch / epochs)) / 2
        for rows in epoch_batches(state.rows, steps, epoch, seed):
            losses = state.step(rows, factor).cpu().nan_to_num(nan=math.inf)
            train_loss[epoch] += losses.unflatten(0, (-1, holdouts)).mean(1) / steps
        heads = state.heads()
        if valid_rows is None:
            assert stop is not None
            better = stop == epoch + 1
        else:
            value, loss = _validate(heads, features, labels, valid_rows, holdouts)
            valid_metric[epoch], valid_loss[epoch] = value, loss
            better = (value > best[0]) | ((value == best[0]) & (-loss > best[1]))
            best = torch.where(better, torch.stack([value, -loss]), best)
        if better.any():
            _copy(heads, kept, better.repeat_interleave(holdouts, 0))
            kept_epochs[better] = epoch + 1
    return Sweep(kept, kept_epochs, train_loss, valid_loss, valid_metric)


def side_by_side(sweeps: Sequence[Sweep]) -> Sweep:
    """Folds that were trained one by one as one sweep; they have the same number of learning rates."""
    heads = [swept.heads for swept in sweeps]
    return Sweep(
        Heads(torch.cat([each.weight for each in heads]), torch.cat([each.bias for each in heads])),
        torch.cat([swept.epochs for swept in sweeps]),
        torch.cat([swept.train_loss for swept in sweeps], 1),
        torch.cat([swept.valid_loss for swept in sweeps], 1),
        torch.cat([swept.valid_metric for swept in sweeps], 1),
    )


class _State:
    """Weights, momentum and running statistics of all heads. `alike`: every batch is all rows."""

    def __init__(
        self,
        features: Embeddings,
        labels: Tensor,
        classes: int,
        train_rows: Tensor,
        learning_rates: Tensor,
        seed: int,
        alike: bool = False,
    ) -> None:
        width, device = features.shape[1], features.device
        folds, self.rates = learning_rates.shape
        self.features, self.labels, self.classes = features, labels, classes
        self.masks = train_rows.to(device)  # (n, F)
        self.rows = train_rows.any(1).nonzero()[:, 0]  # trained on by any fold
        scaled = (learning_rates * LEARNING_RATE_SCALE).to(device, torch.float32)
        self.learning_rates = scaled.repeat_interleave(classes, 1)  # (F, R * C)
        weight = initial_weight(width, classes, seed).to(device)
        self.weight = weight.repeat(folds, 1, self.rates)  # (F, D, R * C)
        self.bias = torch.zeros(folds, self.rates * classes, device=device)
        self.weight_momentum, self.bias_momentum = torch.zeros_like(self.weight), torch.zeros_like(self.bias)
        self.mean = torch.zeros(folds, width, device=device)
        self.var = torch.ones_like(self.mean)
        self.keeps = alike and 4 * int(train_rows.sum()) * width <= MOST_KEPT
        self.kept: list[_Batch] = []

    def step(self, rows: Tensor, factor: float) -> Tensor:
        """One SGD step of every head on `rows`, at `factor` times its learning rate; the losses (F, R)."""
        if self.keeps and not self.kept:
            self.kept = list(self._batches(rows))
        learning_rates = self.learning_rates * factor
        batches = enumerate(self.kept or self._batches(rows))
        return torch.stack([self._step(fold, batch, learning_rates[fold]) for fold, batch in batches])

    def _batches(self, rows: Tensor) -> Iterator["_Batch"]:
        """The rows that each fold trains on."""
        x, labels = select(self.features, rows)[:], self.labels[rows]
        for mask in self.masks[rows].unbind(1):
            own = x if self.masks.shape[1] == 1 else x[mask]
            if not len(own):
                yield _Batch(own, labels[mask], None, None)
                continue
            mean = own.mean(0)
            own -= mean
            var = sum(some.square().sum(0) for some in own.split(IN_CACHE)) / len(own)  # not torch.var: slow
            own *= (var + BN_EPS).rsqrt()
            yield _Batch(own, labels[mask], mean, var)

    def _step(self, fold: int, batch: "_Batch", learning_rates: Tensor) -> Tensor:
        x, count = batch.x, max(1, len(batch.x))
        if batch.mean is not None and batch.var is not None:
            self.mean[fold].lerp_(batch.mean, BN_MOMENTUM)
            self.var[fold].lerp_(batch.var * (count / max(1, count - 1)), BN_MOMENTUM)  # unbiased
        logits = torch.addmm(self.bias[fold], x, self.weight[fold])
        losses, gradient = _loss(logits.unflatten(1, (self.rates, self.classes)), batch.labels)
        gradient = torch.nn.functional.hardshrink(gradient.flatten(1) / count, TINY)  # (B, R * C)
        self.weight_momentum[fold].addmm_(x.T, gradient, beta=MOMENTUM)
        self.weight[fold].addcmul_(learning_rates, self.weight_momentum[fold], value=-1)
        self.bias_momentum[fold].mul_(MOMENTUM).add_(gradient.sum(0))
        self.bias[fold].addcmul_(learning_rates, self.bias_momentum[fold], value=-1)
        return losses.sum(0) / count

    def heads(self) -> Heads:
        """The current heads, with the running statistics."""
        scaled = self.weight * (self.var + BN_EPS).rsqrt()[:, :, None]
        bias = self.bias - (self.mean[:, None] @ scaled)[:, 0]
        shape = (self.rates, self.classes)
        return Heads(scaled.unflatten(2, shape), bias.unflatten(1, shape))


@dataclass
class _Batch:
    """Normalised features of the rows of a fold, and the statistics that normalised them, if it has rows."""

    x: Tensor  # (B, D)
    labels: Tensor  # (B,) or (B, C)
    mean: Tensor | None  # (D,)
    var: Tensor | None


def epoch_batches(rows: Tensor, steps: int, epoch: int, seed: int) -> tuple[Tensor, ...]:
    """The rows of each step of an epoch: a permutation that depends on seed and epoch, in equal parts."""
    generator = torch.Generator().manual_seed((seed + 1) * 1_000_003 + epoch)
    return rows[torch.randperm(len(rows), generator=generator).to(rows.device)].tensor_split(steps)


def _loss(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Each clip's loss (B, R) and its gradient by the logits (B, R, C)."""
    if labels.ndim == 1:
        hot = torch.nn.functional.one_hot(labels, logits.shape[-1]).to(logits.dtype)[:, None]
        logs = logits.log_softmax(-1)
        return -(logs * hot).sum(-1), logs.exp() - hot
    hot = labels.to(logits.dtype)[:, None].expand_as(logits)
    losses = torch.nn.functional.binary_cross_entropy_with_logits(logits, hot, reduction="none")
    return losses.mean(-1), (logits.sigmoid() - hot) / logits.shape[-1]


def _validate(
    heads: Heads, features: Embeddings, labels: Tensor, valid_rows: Tensor, holdouts: int
) -> tuple[Tensor, Tensor]:
    """Metric and loss on each fold's validation clips, both (F, R); -1 and inf if a head diverged.

    Means over the hold-outs, weighted by their numbers of clips.
    """
    values, losses = [], []
    for fold in range(valid_rows.shape[1]):
        rows = valid_rows[:, fold].nonzero()[:, 0].to(features.device)
        weight = heads.weight[fold].flatten(1)
        flat = apply(lambda x, weight=weight: x @ weight, select(features, rows))  # type: ignore[misc]
        logits = flat.view(len(rows), *heads.bias.shape[1:]) + heads.bias[fold]  # (n, R, C)
        values.append(score("accuracy" if labels.ndim == 1 else "mAP", logits, labels[rows]))
        some = logits.split(max(1, AT_ONCE // max(1, logits[:, 0].numel())), 1)
        losses.append(torch.cat([_loss(each, labels[rows])[0].mean(0) for each in some]))
    clips = valid_rows.sum(0).unflatten(0, (-1, holdouts))[:, :, None]  # (F, K, 1)
    share = clips / clips.sum(1, keepdim=True)
    loss, value = (
        (torch.stack(of).cpu().float().unflatten(0, (-1, holdouts)) * share).sum(1) for of in (losses, values)
    )
    return value.nan_to_num(nan=-1.0).where(loss.isfinite(), -1.0), loss.nan_to_num(nan=math.inf)


def _copy(source: Heads, target: Heads, which: Tensor) -> None:
    """Copy the heads of the folds and learning rates in `which` (F, R)."""
    for fold in which.any(1).nonzero()[:, 0].tolist():
        some = which[fold].to(source.bias.device)
        target.weight[fold, :, some] = source.weight[fold, :, some]
        target.bias[fold, some] = source.bias[fold, some]
