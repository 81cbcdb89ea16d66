"""What it costs to decode in processes that can be given up: against another checkout, or decoding here.

    python benchmarks/isolated.py [--against CHECKOUT] [--rounds 3]

Milliseconds for a random stretch of 6 s of a minute of 48 kHz: read in the process that asks, as the
other checkout does and as this one could; in one decoding process, as loaders do; in several, many stretches
at a time. Everything is done in turn; on a busy machine it is mostly waiting for a core. Whole commands:
`embed.py --short`.
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile

ENDINGS = ("wav", "flac", "mp3", "opus", "ogg")
RATE = 48000
A_ROUND = 20  # stretches of each file
HERE = Path(__file__).resolve().parents[1]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--against", type=Path, help="a checkout to compare with")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)  # measure its files, print JSON
    options = parser.parse_args()
    if options.folder:
        print(json.dumps({name: measured(name, options.folder) for name in ways()}))
        return
    print("$", *map(str, [Path(sys.executable).name, *sys.argv]), flush=True)
    checkouts = {"this": HERE, **({"other": options.against.resolve()} if options.against else {})}
    with tempfile.TemporaryDirectory() as folder:
        stretches(Path(folder), checkouts, options.rounds)


def stretches(folder: Path, checkouts: dict[str, Path], rounds: int) -> None:
    """Print a row a format: median milliseconds for a stretch, each way, in each checkout."""
    minutes = folder / "minutes"
    minutes.mkdir()
    noise = np.random.default_rng(0).normal(0, 0.05, 60 * RATE)
    tone = 0.3 * np.sin(np.arange(60 * RATE) * 0.05) + noise
    for ending in ENDINGS:
        kind = {"opus": {"format": "OGG", "subtype": "OPUS"}}.get(ending, {})
        with soundfile.SoundFile(minutes / f"a.{ending}", "w", RATE, 1, **kind) as file:
            for part in np.array_split(tone, 60):  # libsndfile crashes on much Vorbis at once
                file.write(part)
    times: dict[str, dict[str, list[float]]] = {}
    for _ in range(rounds):
        for name, checkout in checkouts.items():
            command = [sys.executable, __file__, "--folder", str(minutes)]
            done = subprocess.run(command, env=sources(checkout), check=True, capture_output=True, text=True)
            for way, found in json.loads(done.stdout).items():
                row = times.setdefault(f"{name}: {way}", {ending: [] for ending in ENDINGS})
                for ending in ENDINGS:
                    row[ending] += found[ending]
    print(f"\nms for 6 s at a random place, median of {A_ROUND * rounds}")
    print("".join([f"{'':18}", *(f"{ending:>8}" for ending in ENDINGS)]))
    for way, row in times.items():
        print("".join([f"{way:18}", *(f"{statistics.median(row[ending]):8.2f}" for ending in ENDINGS)]))


def ways() -> dict[str, Callable[[list[tuple[str, float]]], list[float]]]:
    """How the imported checkout can read stretches; each gives milliseconds for each."""
    try:
        from atst.sound import audio, isolated
    except ImportError:  # a checkout from before there were decoding processes
        from atst import audio  # type: ignore[attr-defined,no-redef]

        return {"here": lambda places: each(audio.read, places)}
    return {
        "here": lambda places: each(audio.read, places),
        "process": lambda places: each(isolated.read, places),
        "pool": pooled,
    }


def measured(way: str, folder: Path) -> dict[str, list[float]]:
    draw, found = random.Random(0), {}
    for ending in ENDINGS:
        places = [(str(folder / f"a.{ending}"), draw.uniform(0, 54)) for _ in range(A_ROUND)]
        ways()[way](places[:2])
        found[ending] = ways()[way](places)
    return found


def each(read: Callable[..., object], places: list[tuple[str, float]]) -> list[float]:
    times = []
    for path, start in places:
        begin = time.perf_counter()
        read(path, start, 6.0)
        times.append(1000 * (time.perf_counter() - begin))
    return times


def pooled(places: list[tuple[str, float]]) -> list[float]:
    """The same milliseconds for each: those for all, when the processes run, by their number."""
    from atst.sound.messages import Request
    from atst.sound.pool import Pool

    requests = [Request("read", path, {"start": start, "duration": 6.0}) for path, start in places]
    with Pool() as pool:
        for _, replies in pool.each(requests[:1] * 2 * len(pool.decoders)):
            next(replies)
        begin = time.perf_counter()
        for _, replies in pool.each(requests):
            next(replies)
        return [1000 * (time.perf_counter() - begin) / len(places)] * len(places)


def sources(checkout: Path) -> dict[str, str]:
    """The environment in which a checkout's sources run; threads wait in the same way in all."""
    policy = os.environ.get("OMP_WAIT_POLICY", "PASSIVE")
    return {**os.environ, "PYTHONPATH": str(checkout / "src"), "OMP_WAIT_POLICY": policy}


if __name__ == "__main__":
    main()
