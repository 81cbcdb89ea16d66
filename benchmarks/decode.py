"""What reading costs: header, a random 6-s stretch and the whole file, for each format.

    python benchmarks/decode.py [--seconds 60] [--repeats 40] [--other CHECKOUT]

Prints one row a format, median milliseconds of processor time (other programs do not count). With another
checkout, its sources are measured in turn on the same files, one process each, and a line gives the ratio.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import soundfile

try:
    from atst.sound import audio
except ImportError:  # the other checkout may be older than that package
    from atst import audio  # type: ignore[attr-defined,no-redef]

RATE = 48000
STRETCH = 6.0  # s
TURNS = 3
FORMATS = {
    "wav": "pcm_s16le",
    "flac": "flac",
    "ogg": "vorbis",
    "opus": "libopus",
    "mp3": "libmp3lame",
    "m4a": "aac",
    "webm": "libopus",
}
COLUMNS = ("header", "stretch", "whole")


def main() -> None:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--seconds", type=float, default=60.0)
    options.add_argument("--repeats", type=int, default=40)
    options.add_argument("--other", type=Path, metavar="CHECKOUT")
    options.add_argument("--folder", type=Path, help=argparse.SUPPRESS)  # measure its files, print JSON
    chosen = options.parse_args()
    if chosen.folder:
        print(json.dumps(measured(chosen.folder, chosen.seconds, chosen.repeats)))
        return
    here = Path(__file__).resolve().parents[1]
    with tempfile.TemporaryDirectory() as folder:
        for ending, codec in FORMATS.items():
            encode(Path(folder) / f"sound.{ending}", codec, chosen.seconds)
        sources = {"here": here, **({"other": chosen.other} if chosen.other else {})}
        turns: dict[str, list[dict[str, list[float]]]] = {name: [] for name in sources}
        for _ in range(TURNS):
            for name, checkout in sources.items():
                turns[name].append(apart(checkout, Path(folder), chosen.seconds, chosen.repeats))
    best = {
        name: {ending: np.min([turn[ending] for turn in runs], axis=0) for ending in FORMATS}
        for name, runs in turns.items()
    }
    print(f"{chosen.seconds:g} s of 48 kHz mono, stretches of {STRETCH:g} s at random places")
    print(f"best of {TURNS} turns of the median of {chosen.repeats}, ms")
    print(f"{'format':8}{'checkout':10}" + "".join(f"{column:>10}" for column in COLUMNS))
    for ending in FORMATS:
        for name in sources:
            print(f"{ending:8}{name:10}" + "".join(f"{value:10.2f}" for value in best[name][ending]))
        if chosen.other:
            ratios = best["here"][ending] / best["other"][ending]
            print(f"{ending:8}{'ratio':10}" + "".join(f"{ratio:10.2f}" for ratio in ratios))


def apart(checkout: Path, folder: Path, seconds: float, repeats: int) -> dict[str, list[float]]:
    """The measurements by the sources of this checkout, in a process of its own."""
    environment = os.environ | {"PYTHONPATH": str(checkout.resolve() / "src")}
    command = [sys.executable, __file__, "--folder", str(folder)]
    command += ["--seconds", str(seconds), "--repeats", str(repeats)]
    answer = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return json.loads(answer.stdout)


def measured(folder: Path, seconds: float, repeats: int) -> dict[str, list[float]]:
    """Milliseconds for the header, stretches and the whole of each file."""
    starts = np.random.default_rng(0).uniform(0, seconds - STRETCH, repeats)
    rows = {}
    for ending in FORMATS:
        path = folder / f"sound.{ending}"
        audio.read(path)
        places = iter(starts)
        calls: list[Callable[[], object]] = [
            lambda path=path: audio.info(path),
            lambda path=path, places=places: audio.read(path, float(next(places)), STRETCH),
            lambda path=path: audio.read(path),
        ]
        rows[ending] = [median_ms(call, repeats) for call in calls]
    return rows


def median_ms(call: Callable[[], object], repeats: int) -> float:
    times = []
    for _ in range(repeats):
        begin = time.process_time()
        call()
        times.append(time.process_time() - begin)
    return 1000 * statistics.median(times)


def encode(path: Path, codec: str, seconds: float) -> Path:
    """A sweep in noise, as FFmpeg's encoder `codec` (libsndfile's for Vorbis) writes it."""
    clock = np.arange(round(RATE * seconds)) / RATE
    noise = np.random.default_rng(0).normal(0, 0.05, len(clock))
    samples = (0.3 * np.sin(2 * np.pi * (200 + 50 * clock) * clock) + noise).astype(np.float32)
    if codec in ("vorbis", "flac", "pcm_s16le"):
        with soundfile.SoundFile(path, "w", RATE, 1) as file:
            for part in np.array_split(
                samples, len(samples) // RATE
            ):  # libsndfile crashes on much Vorbis at once
                file.write(part)
        return path
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=RATE, layout="mono")
        layout = "s16" if codec == "libopus" else "fltp"
        values = (samples * 32767).astype(np.int16) if layout == "s16" else samples
        frame = av.AudioFrame.from_ndarray(values[None], layout, "mono")
        frame.sample_rate, frame.pts = RATE, 0
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    return path


if __name__ == "__main__":
    main()
