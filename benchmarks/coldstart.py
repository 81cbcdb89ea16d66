"""How long it takes until something happens: importing, the help, a model, the first step of a training.

    python benchmarks/coldstart.py [--turns 3] [--files 100000] [--folder DIR] [--only NAME]

Each is a new process, in turns, the fastest counts; wall clock, and processor time of the process and of
those it started. `pretrain` is the command until metrics.csv has its first row (`nano`, 64 clips a step,
one loader process), on `--files` files of 1 s that an index knows already and on one such file. The files are
hard links to a few, and the index is written without opening them, since all are equal.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from loading import link_files, pretrain_command
from step import processor_time

from atst.corpus import headers, open_corpus
from atst.output.markup import markdown

PYTHON = {
    "python -c pass": "pass",
    "import torch": "import torch",
    "import atst": "import atst",
    "atst --help": "import sys; sys.argv = ['atst', '--help']; from atst.cli import main; main()",
    "atst.load, ready to embed": "import atst; atst.load('random:small')",
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--only", choices=["python", "pretrain"])
    options = parser.parse_args()
    best: dict[str, tuple[float, float]] = {}

    def keep(name: str, wall: float, used: float) -> None:
        before = best.get(name, (wall, used))
        best[name] = min(before[0], wall), min(before[1], used)

    with tempfile.TemporaryDirectory(dir=options.folder) as temporary:
        folder = Path(temporary)
        os.environ["ATST_CACHE"] = f"{folder}/cache"
        sources = {}
        if options.only != "python":
            sources = {f"pretrain, {count} files": count for count in (1, options.files)}
            for count in sources.values():
                link_files(folder / f"{count}", count)
                headers._headers = lambda files, numbers: (
                    1.0 for _ in numbers
                )  # what reading them would give
                open_corpus([folder / f"{count}"])
        for turn in range(options.turns):
            for name, code in {} if options.only == "pretrain" else PYTHON.items():
                keep(name, *program(code))
            for name, count in sources.items():
                keep(name, *first_step(folder / f"{count}", folder / f"run-{turn}-{count}"))
    rows = [[name, f"{wall:.2f}", f"{used:.2f}"] for name, (wall, used) in best.items()]
    print(markdown(["until", "wall clock, s", "processor time, s"], rows))


def program(code: str) -> tuple[float, float]:
    """Seconds of wall clock and of processor time of a Python program."""
    began, before = time.perf_counter(), os.times()
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
    after = os.times()
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return time.perf_counter() - began, used


def first_step(source: Path, out: Path) -> tuple[float, float]:
    """The same of a training until its first step is done."""
    command = pretrain_command(source, out, "max_steps=10000", "workers=1", "precision=float32")
    began, ended, used = time.perf_counter(), threading.Event(), 0.0
    process = subprocess.Popen(command)
    log = out / "metrics.csv"
    while not log.exists() or log.read_bytes().count(b"\n") < 2:
        assert process.poll() is None
        used = processor_time(process.pid)
        ended.wait(0.02)
    taken = time.perf_counter() - began
    process.terminate()
    process.wait()
    return taken, used


if __name__ == "__main__":
    main()
