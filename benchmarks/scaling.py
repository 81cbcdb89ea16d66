"""Whether the cost of pre-training grows no faster than what it depends on: corpus, segment, batch, workers.

    python benchmarks/scaling.py [--recipe nano-paper] [--clips 256] [--repeats 3] [--only NAME]

- `corpus`: loading a clip of a packed corpus of 1,000 to 1,000,000 clips (views' log-mels included), and what
  opening the corpus costs for each clip.
- `segment`: loading, views and step of a clip, for each second of its segments.
- `batch`: a step, for each clip.
- `workers`: clips a second that loader processes give, and the share of what one gives, times their number.

Processor time of one thread, the fastest of the repeats; wall clock for `workers`. "of the first" is the cost
against that of the first row: 1 where it grows in proportion. A share of the machine's measured peak stands
beside steps.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from loading import clip_corpus

from atst.corpus import open_corpus
from atst.model.matmul import fast_products
from atst.output.markup import markdown
from atst.pretraining import data
from atst.pretraining import recipe as recipes
from atst.pretraining.data import PairDataset
from atst.pretraining.flops import flops_per_clip
from atst.pretraining.module import PretrainingModule
from atst.pretraining.recipe import Recipe
from atst.training import memory
from atst.training.loader import BatchPositions
from atst.training.peak import matmul_peak

CPU = torch.device("cpu")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--recipe", default="nano-paper")
    parser.add_argument("--clips", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", choices=["corpus", "segment", "batch", "workers"])
    options = parser.parse_args()
    torch.set_num_threads(1)
    memory.keep()
    plan = recipes.resolve(options.recipe, ["precision=float32", "workers=0", "clip_seconds=10"])
    parts = {"corpus": corpora, "segment": segments, "batch": batches, "workers": workers}
    for name, part in parts.items():
        if options.only in (None, name):
            with tempfile.TemporaryDirectory() as folder:
                part(plan, Path(folder), options.clips, options.repeats)


def corpora(plan: Recipe, folder: Path, clips: int, repeats: int) -> None:
    """Clips of one corpus after the other, in the order of the stream."""
    rows = []
    for count in (1_000, 10_000, 100_000, 1_000_000):
        source = clip_corpus(folder / f"{count}", count, 16_000)
        began = time.process_time()
        corpus = open_corpus([source], plan.clip_seconds, 0.5)
        opened = time.process_time() - began
        dataset = PairDataset(corpus, replace(plan, min_seconds=0.5), logmel=True)
        dataset[0]  # the order of an epoch
        loaded = fastest(lambda dataset=dataset: [dataset[at] for at in range(clips)], repeats) / clips
        rows.append([f"{count:,}", opened / count, loaded])
    show(["clips", "opening, us a clip", "loading, ms a clip"], rows, (1e6, 1e3))


def segments(plan: Recipe, folder: Path, clips: int, repeats: int) -> None:
    """All of a clip, by the length of its segments."""
    source = clip_corpus(folder / "long", 100, 160_000)
    rows, peak = [], matmul_peak("float32", CPU)
    for seconds in (1.5, 3.0, 6.0):
        longer = replace(plan, segment_seconds=seconds, batch_size=min(clips, 32))
        dataset = PairDataset(open_corpus([source]), longer, logmel=True)
        batch = data._collate([dataset[at] for at in range(longer.batch_size)])
        module = PretrainingModule(longer)
        loading = fastest(lambda: [dataset[at] for at in range(longer.batch_size)], repeats)  # noqa: B023
        views = fastest(lambda: module.views(batch), repeats)  # noqa: B023
        taken = fastest(stepper(module, *module.views(batch)), repeats)
        costs = [cost / longer.batch_size / seconds for cost in (loading, views, taken)]
        rows.append(
            [f"{seconds:g} s", *costs, f"{flops_per_clip(longer) * longer.batch_size / taken / peak:.0%}"]
        )
    names = [f"{name}, ms a clip and second" for name in ("loading", "views", "step")]
    show(["segments", *names, "step, of the peak"], rows, (1e3, 1e3, 1e3))


def batches(plan: Recipe, folder: Path, clips: int, repeats: int) -> None:
    """A step, by the number of clips."""
    rows, peak = [], matmul_peak("float32", CPU)
    module = PretrainingModule(plan)
    frames = module.views.frames[0]
    for size in (16, 32, 64, 128, 256):
        taken = fastest(stepper(module, *torch.randn(2, size, 64, frames)), repeats)
        rows.append([f"{size}", taken / size, f"{flops_per_clip(plan) * size / taken / peak:.0%}"])
    show(["batch", "step, ms a clip", "of the peak"], rows, (1e3,))


def workers(plan: Recipe, folder: Path, clips: int, repeats: int) -> None:
    """Batches of some loader processes, while nothing trains."""
    source = clip_corpus(folder / "long", 100, 160_000)
    dataset = PairDataset(open_corpus([source]), plan, logmel=True)
    rows: list[list[object]] = []
    one = 0.0
    for count in (1, 2, 4):
        stream = iter(data.loader(dataset, BatchPositions(32), count))
        for _ in range(4 * count + 1):  # what was ready
            next(stream)
        began = time.perf_counter()
        for _ in range(max(8, clips // 32) * repeats):
            next(stream)
        rate = 32 * max(8, clips // 32) * repeats / (time.perf_counter() - began)
        del stream
        one = one or rate
        rows.append([f"{count}", f"{rate:.0f}", f"{rate / one / count:.2f}"])
    print(markdown(["loader processes", "clips/s", "of that many times one"], rows))


def stepper(module: PretrainingModule, view1: torch.Tensor, view2: torch.Tensor) -> Callable[[], None]:
    """A step of the module's networks on two views."""
    optimiser = torch.optim.AdamW(module.pair.parameter_groups(), lr=1e-6, eps=1e-6, fused=True)

    @fast_products()  # as in a training
    def step() -> None:
        loss, _ = module.pair.loss(view1, view2)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        module.pair.update_teacher(0.99)

    return step


def fastest(work: Callable[[], object], repeats: int) -> float:
    """Seconds of processor time of the fastest of some repeats, after one to warm up."""
    times = []
    for _ in range(repeats + 1):
        began = time.process_time()
        work()
        times.append(time.process_time() - began)
    return min(times[1:])


def show(header: list[str], rows: list[list[object]], scales: tuple[float, ...]) -> None:
    """A table; after each cost stands its ratio to that of the first row."""
    titles, lines = [header[0]], [[str(row[0])] for row in rows]
    for column, title in enumerate(header[1:], 1):
        if column > len(scales):
            titles.append(title)
            for line, row in zip(lines, rows, strict=True):
                line.append(str(row[column]))
            continue
        titles += [title, "of the first"]
        for line, row in zip(lines, rows, strict=True):
            value, first = float(row[column]), float(rows[0][column])  # type: ignore[arg-type]
            line += [f"{scales[column - 1] * value:.3g}", f"{value / first:.2f}"]
    print(markdown(titles, lines) + "\n", flush=True)


if __name__ == "__main__":
    main()
