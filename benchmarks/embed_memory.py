"""The largest memory of `atst embed` and its decoding processes together, for one long recording.

    python benchmarks/embed_memory.py [--hours 12] [--models random:nano atst-nano]

The recording is noise, in a temporary file of 115 MB an hour.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--hours", type=float, default=12.0)
    parser.add_argument("--models", nargs="+", default=["random:nano", "atst-nano"])
    options = parser.parse_args()
    print("$", *map(str, [Path(sys.executable).name, *sys.argv]), flush=True)
    print("| model | MB |\n|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        sound, out = f"{folder}/long.wav", f"{folder}/x.parquet"
        noise = np.random.default_rng(0)
        with soundfile.SoundFile(sound, "w", 16000, 1) as file:
            for _ in range(round(options.hours * 60)):
                file.write(noise.normal(0, 0.1, 60 * 16000))
        for model in options.models:
            arguments = ["embed", sound, "--model", model, "--out", out, "--quiet"]
            process = subprocess.Popen([sys.executable, "-m", "atst", *arguments])
            most = 0.0
            while process.poll() is None:
                most = max(most, tree(process.pid))
                time.sleep(0.1)
            print(f"| {model} | {most:.0f} |", flush=True)
            if process.returncode:
                raise SystemExit(process.returncode)


def tree(process: int) -> float:
    """MB that a process and its children hold, shared pages once."""
    total, waiting = 0.0, [process]
    while waiting:
        entry = Path(f"/proc/{waiting.pop()}")
        try:
            lines = (entry / "smaps_rollup").read_text().splitlines()
            total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024
            for thread in (entry / "task").iterdir():
                waiting += map(int, (thread / "children").read_text().split())
        except OSError:  # it has ended
            continue
    return total


if __name__ == "__main__":
    main()
