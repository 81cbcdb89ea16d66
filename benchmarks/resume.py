"""The mixup banks of a resumed run: loaded once more from the corpus, against kept in every checkpoint.

    python benchmarks/resume.py [--folder DIR] [--clips 200]

Rebuilding is measured on `--clips` positions of a corpus of 10 s, 16-bit WAV files, in one process, and
scaled to the bank's 2000; a run's loader processes share that work. Storing is a save to `--folder`
(default: the system's folder for temporary files) with the data forced to the disk, and a load of it; the
file is likely still in memory then. Rebuilding is paid once a resumption, storing at every checkpoint and
on the disk for each that is kept.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile
import torch

from atst.corpus import open_corpus
from atst.pretraining import recipe as recipes
from atst.pretraining.data import PairDataset, loader
from atst.pretraining.views import Views
from atst.training.augment import BANK_SIZE, MixupBank
from atst.training.loader import BatchPositions

BATCH = 50
FILES = 40


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, default=None)
    parser.add_argument("--clips", type=int, default=200)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(
        "| segment | bytes a checkpoint | save, s | load, s | rebuild, s (processor time) | rebuild / save |"
    )
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        sounds = Path(folder) / "sounds"
        sounds.mkdir()
        for i in range(FILES):
            noise = np.random.default_rng(i).standard_normal(160_000) * 0.1
            soundfile.write(sounds / f"{i}.wav", noise, 16_000, subtype="PCM_16")
        for seconds in (1.5, 6.0):
            rebuilt, wall, banks = rebuild(sounds, seconds, options.clips)
            size, saving, loading = store(Path(folder) / "banks.pt", banks)
            print(
                f"| {seconds:g} s | {size / 1e6:.0f} MB | {saving:.1f} | {loading:.1f} "
                f"| {wall:.1f} ({rebuilt:.1f}) | {wall / saving:.1f} |",
                flush=True,
            )


def rebuild(sounds: Path, seconds: float, clips: int) -> tuple[float, float, tuple[MixupBank, MixupBank]]:
    """Processor and wall seconds to fill both banks, from a part of it; and the banks."""
    recipe = recipes.resolve("tiny", [f"segment_seconds={seconds}"])
    dataset = PairDataset(open_corpus([sounds]), recipe, logmel=True)
    views = Views(recipe)
    assert views.banks is not None
    stream = iter(loader(dataset, BatchPositions(BATCH), workers=0))
    views.remember(next(stream))  # reserves the memory
    begin, begin_wall = time.process_time(), time.perf_counter()
    for _ in range(clips // BATCH):
        views.remember(next(stream))
    scale = BANK_SIZE / (clips // BATCH * BATCH)
    spent, wall = time.process_time() - begin, time.perf_counter() - begin_wall
    return spent * scale, wall * scale, views.banks


def store(path: Path, banks: tuple[MixupBank, MixupBank]) -> tuple[int, float, float]:
    """Bytes, and wall seconds to save and to load both banks."""
    start = time.perf_counter()
    with path.open("wb") as file:
        torch.save([bank.stored for bank in banks], file)
        file.flush()
        os.fsync(file.fileno())
    saved = time.perf_counter()
    torch.load(path, weights_only=True)
    return path.stat().st_size, saved - start, time.perf_counter() - saved


if __name__ == "__main__":
    main()
