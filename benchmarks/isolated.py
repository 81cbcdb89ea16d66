"""What it costs to decode in processes that can be given up: against decoding here, or an older checkout.

    python benchmarks/isolated.py [--against CHECKOUT] [--files 1000] [--rounds 3]

Seconds to embed many short files with an untrained `nano`, by the command line, in turn with the other
checkout, with the processor time of all processes; and milliseconds for a random stretch of 6 s of a minute
of 48 kHz, read here and in a decoding process, in turn. On a busy machine it is mostly waiting for a core.
"""

import argparse
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile

from atst.sound import audio, isolated

ENDINGS = ("wav", "flac", "mp3", "opus", "ogg")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--against", type=Path, help="a checkout to compare with")
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        stretches(Path(folder), options.rounds)
        checkouts = [Path(__file__).parents[1], *([options.against] if options.against else [])]
        embeddings(Path(folder), checkouts, options.files, options.rounds)


def embeddings(folder: Path, checkouts: list[Path], files: int, rounds: int) -> None:
    sounds = folder / "short"
    sounds.mkdir()
    noise = np.random.default_rng(0)
    for i in range(files):
        samples = noise.normal(0, 0.1, int(16000 * noise.uniform(1, 5)))
        soundfile.write(sounds / f"{i:05}.wav", samples, 16000)
    times: dict[Path, list[tuple[float, float]]] = {checkout: [] for checkout in checkouts}
    for _ in range(rounds):
        for checkout in checkouts:
            command = ["embed", str(sounds), "--model", "random:nano", "--out", str(folder / "x.parquet")]
            environment = {**os.environ, "PYTHONPATH": str(checkout / "src")}
            given = [sys.executable, "-m", "atst", *command]
            begin, computed = time.perf_counter(), processor_time()
            subprocess.run(given, env=environment, check=True, stderr=subprocess.DEVNULL)
            times[checkout].append((time.perf_counter() - begin, processor_time() - computed))
    for checkout, own in times.items():
        wall, processor = map(min, zip(*own, strict=True))
        line = f"embed {files} files, {checkout}: {wall:.1f} s, {processor:.1f} s of the processor"
        print(f"{line} (best of {rounds})", flush=True)


def processor_time() -> float:
    """Seconds that processes started here, and theirs, have computed."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def stretches(folder: Path, rounds: int) -> None:
    rate = 48000
    tone = 0.3 * np.sin(np.arange(60 * rate) * 0.05) + np.random.default_rng(0).normal(0, 0.05, 60 * rate)
    print(f"{'format':8}{'here':>8}{'isolated':>10}   ms, median of {20 * rounds}")
    for ending in ENDINGS:
        path = folder / f"a.{ending}"
        kind = {"opus": {"format": "OGG", "subtype": "OPUS"}}.get(ending, {})
        with soundfile.SoundFile(path, "w", rate, 1, **kind) as file:
            for part in np.array_split(tone, 60):  # libsndfile crashes on much Vorbis at once
                file.write(part)
        times: dict[str, list[float]] = {"here": [], "isolated": []}
        draw = random.Random(0)
        isolated.read(path, 0, 1)
        for _ in range(20 * rounds):
            start = draw.uniform(0, 54)
            for name, read in (("here", audio.read), ("isolated", isolated.read)):
                begin = time.perf_counter()
                read(path, start, 6.0)
                times[name].append(1000 * (time.perf_counter() - begin))
        row = [statistics.median(times[name]) for name in ("here", "isolated")]
        print(f"{ending:8}{row[0]:8.2f}{row[1]:10.2f}", flush=True)


if __name__ == "__main__":
    main()
