import pytest
import torch
from torch import nn

from atst.evaluation.sweep import EPOCHS, LEARNING_RATE_SCALE, epoch_batches, side_by_side, train
from atst.model.classifier import initial_weight


def alone(features, labels, classes, fold, train_rows, rate, valid_rows, epochs, batch, seed):
    """One fold and rate by PyTorch's own layers: logits of all clips after each epoch."""
    norm = nn.BatchNorm1d(features.shape[1], affine=False, eps=1e-5, momentum=0.1)
    linear = nn.Linear(features.shape[1], classes)
    with torch.no_grad():
        linear.weight.copy_(initial_weight(features.shape[1], classes, seed).T)
        linear.bias.zero_()
    lr = rate * LEARNING_RATE_SCALE
    optimiser = torch.optim.SGD(linear.parameters(), lr, momentum=0.9)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, epochs)
    rows = train_rows.any(1).nonzero()[:, 0]
    steps = -(-int(train_rows.sum(0).max()) // batch)
    loss = nn.CrossEntropyLoss() if labels.ndim == 1 else nn.BCEWithLogitsLoss()
    history = []
    for epoch in range(epochs):
        norm.train()
        for picked in epoch_batches(rows, steps, epoch, seed):
            own = picked[train_rows[picked, fold]]
            optimiser.zero_grad()
            target = labels[own] if labels.ndim == 1 else labels[own].float()
            loss(linear(norm(features[own])), target).backward()
            optimiser.step()
        schedule.step()
        norm.eval()
        with torch.no_grad():
            history.append(linear(norm(features)))
    return history


@pytest.mark.parametrize("multi_label", [False, True])
@pytest.mark.parametrize("batch", [16, 1000])
def test_the_sweep_equals_training_one_head_at_a_time_with_pytorch(multi_label, batch):
    generator = torch.Generator().manual_seed(1)
    features = torch.randn(60, 12, generator=generator) * 3 + 40  # far from zero: a numerical trap
    labels = torch.randint(0, 4, (60,), generator=generator)
    if multi_label:
        labels = (torch.rand(60, 4, generator=generator) < 0.4).to(torch.uint8)
    fold = torch.arange(60) % 3
    test = torch.stack([fold == f for f in range(3)], 1)
    valid = test.roll(-1, 1)
    rates = torch.tensor([1e-3, 0.02, 0.3]).expand(3, -1)
    settings = {"seed": 3, "epochs": 15, "batch": batch}
    swept = train(features, labels, 4, ~test & ~valid, rates, valid_rows=valid, **settings)
    assert swept.epochs.shape == (3, 3)
    for f in range(3):
        for r in range(3):
            history = alone(features, labels, 4, f, ~test & ~valid, rates[f, r].item(), valid, **settings)
            expected = history[swept.epochs[f, r] - 1]
            torch.testing.assert_close(swept.heads.logits(features, f, r), expected, atol=1e-4, rtol=1e-4)


def test_stop_keeps_the_head_of_that_epoch():
    generator = torch.Generator().manual_seed(2)
    features, labels = torch.randn(40, 5, generator=generator), torch.arange(40) % 2
    rows = torch.ones(40, 1, dtype=torch.bool)
    rates = torch.tensor([[0.1, 0.1]])
    swept = train(features, labels, 2, rows, rates, stop=torch.tensor([[3, 7]]), epochs=10)
    history = alone(features, labels, 2, 0, rows, 0.1, None, 10, 1024, 0)
    for rate, epoch in enumerate((3, 7)):
        torch.testing.assert_close(
            swept.heads.logits(features, 0, rate), history[epoch - 1], atol=1e-4, rtol=1e-4
        )
    assert swept.epochs.tolist() == [[3, 7]]


def test_hold_outs_of_a_fold_keep_the_epoch_that_is_best_on_all_their_clips():
    generator = torch.Generator().manual_seed(3)
    features = torch.randn(90, 8, generator=generator)
    labels = (features[:, :3] + torch.randn(90, 3, generator=generator)).argmax(1)
    part = torch.arange(90) % 6
    sizes = torch.tensor([[15.0, 30.0], [30.0, 15.0]])[:, :, None]  # of hold-outs, for each fold
    valid = torch.stack([part == 0, (part == 1) | (part == 2), part >= 4, part == 3], dim=1)
    rates = torch.tensor([[0.01, 0.3], [0.02, 0.5]])
    swept = train(features, labels, 3, ~valid, rates, valid_rows=valid, holdouts=2)
    each = train(features, labels, 3, ~valid, rates.repeat_interleave(2, 0), valid_rows=valid)
    for ours, theirs in ((swept.valid_metric, each.valid_metric), (swept.valid_loss, each.valid_loss)):
        mean = (theirs.view(-1, 2, 2, 2) * sizes).sum(2) / sizes.sum(1)
        torch.testing.assert_close(ours, mean, atol=1e-5, rtol=1e-5)
    best = swept.valid_metric.max(0).values
    torch.testing.assert_close(swept.valid_metric.gather(0, (swept.epochs - 1)[None])[0], best)
    for column in range(4):
        kept = swept.epochs[column // 2].repeat(1, 1)
        stopped = train(features, labels, 3, ~valid[:, [column]], rates[[column // 2]], stop=kept)
        for rate in range(2):
            torch.testing.assert_close(
                swept.heads.logits(features, column, rate),
                stopped.heads.logits(features, 0, rate),
                atol=1e-4,
                rtol=1e-4,
            )


def test_folds_trained_one_by_one_are_those_trained_at_once():
    generator = torch.Generator().manual_seed(5)
    features, labels = torch.randn(60, 5, generator=generator), torch.arange(60) % 3
    valid = torch.nn.functional.one_hot(torch.arange(60) % 4).bool()  # two hold-outs of two folds
    rates = torch.tensor([[0.01, 0.3], [0.02, 0.5]])
    once = train(features, labels, 3, ~valid, rates, valid_rows=valid, holdouts=2)
    single = [
        train(features, labels, 3, ~own, rate[None], valid_rows=own, holdouts=2)
        for own, rate in zip(valid.split(2, 1), rates, strict=True)
    ]
    joined = side_by_side(single)
    assert torch.equal(once.epochs, joined.epochs)
    for column in range(4):
        for rate in range(2):
            ours = joined.heads.logits(features, column, rate)
            torch.testing.assert_close(ours, once.heads.logits(features, column, rate), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(once.train_loss, joined.train_loss)
    assert [once.best(fold) for fold in (0, 1)] == [joined.best(fold) for fold in (0, 1)]


def test_a_rate_that_diverges_is_not_chosen():
    generator = torch.Generator().manual_seed(4)
    features = torch.randn(80, 10, generator=generator)
    labels = (features[:, 0] > 0).long()
    valid = (torch.arange(80) % 4 == 0)[:, None]
    swept = train(features, labels, 2, ~valid, torch.tensor([[0.05, 1e38]]), valid_rows=valid)
    rate, epoch = swept.best(0)
    assert rate == 0
    assert 1 <= epoch <= EPOCHS
    assert swept.valid_metric[epoch - 1, 0, 0] > 0.8
