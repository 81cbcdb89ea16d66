"""How long reading many annotation tables takes: Raven tables of two views each, and their windows.

    python benchmarks/annotations.py [--tables 2000] [--events 50]

Makes silent recordings and tables in a temporary folder, then times `atst annotations` as events and as
windows, by a process of its own each, start included. Prints seconds, those of them that a core computed,
and events per second.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile

SECONDS = 600
COLUMNS = (
    "Selection View Channel Begin-Time-(s) End-Time-(s) Low-Freq-(Hz) High-Freq-(Hz) Begin-File Annotation"
)


def main() -> None:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--tables", type=int, default=2000)
    options.add_argument("--events", type=int, default=50, help="in each table")
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder), chosen.tables, chosen.events)
        total = chosen.tables * chosen.events
        print(f"{total:,} events in {chosen.tables:,} tables of two rows an event")
        for name, more in (("events", ()), ("windows of 3 s", ("--window", "3", "--background", "none"))):
            command = [
                sys.executable,
                "-m",
                "atst",
                "annotations",
                folder,
                "--out",
                f"{folder}/meta.csv",
                *more,
            ]
            start, busy = time.perf_counter(), processor()
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            seconds, busy = time.perf_counter() - start, processor() - busy
            rows = done.stdout.splitlines()[-1].split(": ")[-1]
            took = f"{seconds:6.1f} s ({busy:.1f} s of one core)"
            print(f"{name:16} {took}  {total / seconds:7,.0f} events/s  {rows}")


def processor() -> float:
    """Seconds that finished child processes have computed."""
    times = os.times()
    return times.children_user + times.children_system


def make(folder: Path, tables: int, events: int) -> None:
    header = "\t".join(column.replace("-", " ") for column in COLUMNS.split())
    draw = np.random.default_rng(0)
    for number in range(tables):
        name = f"site{number % 20}_{number:05}"
        soundfile.write(folder / f"{name}.flac", np.zeros(SECONDS * 4000, np.int16), 4000)
        lines = [header]
        for selection, begin in enumerate(np.sort(draw.uniform(0, SECONDS - 5, events)), 1):
            times = f"{begin:.6f}\t{begin + draw.uniform(0.1, 4):.6f}"
            for view in ("Waveform 1", "Spectrogram 1"):
                label = f"species {draw.integers(30)}" if view == "Waveform 1" else ""
                lines.append(f"{selection}\t{view}\t1\t{times}\t500.0\t7000.0\t{name}.flac\t{label}")
        (folder / f"{name}.Table.1.selections.txt").write_text("\r\n".join(lines) + "\r\n")


if __name__ == "__main__":
    main()
