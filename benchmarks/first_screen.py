"""How long a newcomer waits: the demo and the tests, with and without the newest instructions.

    python benchmarks/first_screen.py [--only demo] [--plain | --native]

Prints a row a run. "plain" tells oneDNN, MKL and PyTorch to do without AVX-512 and bfloat16 instructions, as
processors sold before 2023 have to. Where that cannot be told (another kind of processor) both are the same.
Run it on a quiet machine, in an environment with the extra `test`.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from atst.cores import cores

PLAIN = {"ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}
ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", choices=("demo", "tests"))
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--plain", action="store_true")
    which.add_argument("--native", action="store_true")
    options = parser.parse_args()
    print(f"{cores()} cores\n\n| what | instructions | time | how |\n|---|---|---|---|")
    for what, run in (("demo", demo), ("tests", tests)):
        for plain in (False, True):
            if options.only in (None, what) and not (options.native if plain else options.plain):
                start = time.monotonic()
                how = run(os.environ | (PLAIN if plain else {}))
                minutes, seconds = divmod(round(time.monotonic() - start), 60)
                kind = "plain" if plain else "all"
                print(f"| {what} | {kind} | {minutes}:{seconds:02} | {how} |", flush=True)


def demo(environment: dict[str, str]) -> str:
    """`atst demo` in a new folder: its steps, precision, threads and loader processes."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "atst", "demo", "--out", f"{folder}/demo"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        return f"failed: {done.stderr.splitlines()[-1]}"
    steps = re.search(r"\d+ steps", done.stderr)
    computing = re.search(r"(bf16|float32), \d+ threads? and \d+ loader process(es)?", done.stderr)
    return f"{steps and steps[0]}, {computing and computing[0]}"


def tests(environment: dict[str, str]) -> str:
    """What `make test` runs: style, types and tests."""
    steps = (
        ["ruff", "check", "."],
        ["ruff", "format", "--check", "."],
        ["mypy"],
        ["pytest", "-q", "-n", "2", "--dist", "worksteal"],
    )
    said = ""
    for step in steps:
        command = [sys.executable, "-m", *step]
        done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
        said = (done.stdout.splitlines() or [""])[-1]
        if done.returncode:
            return f"{step[0]} failed: {said}"
    return said


if __name__ == "__main__":
    main()
