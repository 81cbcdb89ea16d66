"""What memory and time the linear probe takes with its features on disk, against features in memory.

    python benchmarks/feature_memory.py [--clips 100000] [--width 2048] [--rates 1] [--epochs 10]
        [--threads 1] [--clock wall] [--folder DIR]

Features are random, with a class in each. Each probe runs in a process of its own. Memory is the most that a
process held beyond what importing takes: its own, and with the pages of files that the system lends it and
takes back when others need them. Linux only. On a busy machine `--threads 1 --clock cpu` is the fair measure.
"""

import argparse
import hashlib
import tempfile
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch

from atst.evaluation import features, store, sweep
from atst.evaluation.features import Features
from atst.evaluation.linear import LEARNING_RATES, linear_probe
from atst.tasks import Task

CLASSES = 10
AT_ONCE = 1024  # clips written at a time


class Encoder:
    name = fingerprint = "random"
    depth = 1


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clips", type=int, default=100_000)
    parser.add_argument("--width", type=int, default=2048)
    parser.add_argument("--rates", type=int, default=1, help="learning rates to sweep, from the middle")
    parser.add_argument("--epochs", type=int, default=10, help="a probe has 100")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall")
    parser.add_argument("--folder", help="for the features; by default where temporary files go")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        write(folder, options.clips, options.width)
        size = sum(path.stat().st_size for path in folder.iterdir()) / 1e6
        print("| features | clips | values | on disk, MB | memory, MB | with files, MB | s | accuracy |")
        print("|---|---|---|---|---|---|---|---|")
        for where in ("on disk", "in memory"):
            with ProcessPoolExecutor(1, get_context("spawn")) as alone:
                own, whole, seconds, value = alone.submit(
                    probe, folder, where == "in memory", options
                ).result()
            cells = f"{options.clips} | {options.width} | {size:.0f} | {own:.0f} | {whole:.0f}"
            print(f"| {where} | {cells} | {seconds:.0f} | {value:.4f} |", flush=True)


def labels(clips: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, CLASSES, clips)


def keys(clips: int) -> list[str]:
    return [hashlib.sha256(str(clip).encode()).hexdigest()[:32] for clip in range(clips)]


def write(folder: Path, clips: int, width: int) -> None:
    rng = np.random.default_rng(1)
    centres = rng.standard_normal((CLASSES, width), dtype=np.float32) / 16
    kept, names, classes = store.Store(folder), keys(clips), labels(clips)
    for start in range(0, clips, AT_ONCE):
        own = slice(start, min(start + AT_ONCE, clips))
        noise = rng.standard_normal((own.stop - start, width), dtype=np.float32)
        kept.add(names[own], noise + centres[classes[own]])


def probe(folder: Path, in_memory: bool, options: argparse.Namespace) -> tuple[float, float, float, float]:
    """MB of its own, MB with files, seconds and accuracy."""
    torch.set_num_threads(options.threads)
    now = time.perf_counter if options.clock == "wall" else time.process_time
    clips, first = options.clips, (len(LEARNING_RATES) - options.rates) // 2
    task = Task(
        name="random",
        names=[""] * clips,
        labels=labels(clips),
        label_names=[str(label) for label in range(CLASSES)],
        splits=np.array(["train"] * 8 + ["valid", "test"])[np.arange(clips) % 10],
        learning_rates=LEARNING_RATES[first : first + options.rates],
    )
    sweep.train = partial(sweep.train, epochs=options.epochs)
    store.IN_MEMORY = 2**60 if in_memory else 0
    names = keys(clips)
    done, most = threading.Event(), np.zeros(2)
    before = memory()
    watch = threading.Thread(target=lambda: watched(done, most))
    watch.start()
    start = now()
    stored = Features(store.Store(folder).features(names), np.arange(clips), {})
    features.extract = lambda *given: stored
    value = linear_probe(features.prepare(Encoder(), task, device="cpu")).result.value
    seconds = now() - start
    done.set()
    watch.join()
    own, whole = most - before
    return own, whole, seconds, value


def watched(done: threading.Event, most: np.ndarray) -> None:
    while not done.wait(0.02):
        np.maximum(most, memory(), out=most)


def memory() -> np.ndarray:
    """MB of this process now: its own, and with the files that are mapped into it."""
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return np.array([int(fields[name].split()[0]) * 1024 / 1e6 for name in ("RssAnon", "VmRSS")])


if __name__ == "__main__":
    main()
