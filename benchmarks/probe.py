"""How long the probe's batched sweep takes, against the same training one learning rate and fold at a time.

    python benchmarks/probe.py [--threads 2] [--device cpu] [--alone 2] [--clock wall]

The other way is the obvious one: PyTorch's BatchNorm1d, Linear and SGD, a loop over rates and folds. It is
run for `--alone` of them and scaled up. Features are random; the sizes are those of real tasks. On a busy
machine `--threads 1 --clock cpu` is the fair measure.
"""

import argparse
import time

import torch
from torch import Tensor, nn

from atst.evaluation.linear import LEARNING_RATES
from atst.evaluation.sweep import EPOCHS, LEARNING_RATE_SCALE, epoch_batches, train
from atst.model.classifier import initial_weight
from atst.training import memory

CASES = (  # name, clips, values, classes, folds, validation clips of a split
    ("esc10, small encoder", 400, 9216, 10, 5, 80),
    ("fsdd, tiny encoder", 2700, 4608, 10, 1, 300),
    ("gmnotes, tiny encoder", 1608, 4608, 11, 1, 264),
)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--alone", type=int, default=2)
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall")
    options = parser.parse_args()
    now = time.perf_counter if options.clock == "wall" else time.process_time
    torch.set_num_threads(options.threads)
    memory.keep()  # as `atst probe` does
    print("| task | clips x values | classes x folds x rates | batched, s | one at a time, s | ratio |")
    print("|---|---|---|---|---|---|")
    for name, clips, width, classes, folds, valid_clips in CASES:
        generator = torch.Generator().manual_seed(0)
        labels = torch.randint(0, classes, (clips,), generator=generator)
        centres = torch.randn(classes, width, generator=generator)
        features = torch.randn(clips, width, generator=generator) * 4 + centres[labels]
        part = torch.arange(clips) % folds if folds > 1 else (torch.arange(clips) >= valid_clips).long()
        test = torch.stack([part == fold for fold in range(folds)], 1)
        valid = test.roll(-1, 1)
        rows = ~test & ~valid if folds > 1 else ~valid
        features, labels = features.to(options.device), labels.to(options.device)
        start = now()
        train(
            features, labels, classes, rows, torch.tensor(LEARNING_RATES).expand(folds, -1), valid_rows=valid
        )
        batched = now() - start
        start = now()
        for rate in range(options.alone):
            alone(
                features,
                labels,
                classes,
                rows[:, 0],
                valid[:, 0],
                LEARNING_RATES[rate * 5 % len(LEARNING_RATES)],
            )
        single = (now() - start) / options.alone * folds * len(LEARNING_RATES)
        shape = f"{clips} x {width} | {classes} x {folds} x {len(LEARNING_RATES)}"
        print(f"| {name} | {shape} | {batched:.1f} | {single:.0f} | {single / batched:.1f} |", flush=True)


def alone(features: Tensor, labels: Tensor, classes: int, rows: Tensor, valid: Tensor, rate: float) -> Tensor:
    """Train one head; its validation accuracy after each epoch."""
    norm = nn.BatchNorm1d(features.shape[1], affine=False).to(features.device)
    linear = nn.Linear(features.shape[1], classes).to(features.device)
    with torch.no_grad():
        linear.weight.copy_(initial_weight(features.shape[1], classes, 0).T)
        linear.bias.zero_()
    optimiser = torch.optim.SGD(linear.parameters(), rate * LEARNING_RATE_SCALE, momentum=0.9)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, EPOCHS)
    own, held = rows.nonzero()[:, 0].to(features.device), valid.nonzero()[:, 0].to(features.device)
    accuracies = []
    for epoch in range(EPOCHS):
        norm.train()
        for picked in epoch_batches(own, -(-len(own) // 1024), epoch, 0):
            optimiser.zero_grad()
            nn.functional.cross_entropy(linear(norm(features[picked])), labels[picked]).backward()
            optimiser.step()
        schedule.step()
        norm.eval()
        with torch.no_grad():
            accuracies.append((linear(norm(features[held])).argmax(1) == labels[held]).float().mean())
    return torch.stack(accuracies)


if __name__ == "__main__":
    main()
