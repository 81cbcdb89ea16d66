"""Commands in processes forked from one that has imported everything, to be killed or kept short of disk."""

import io
import json
import os
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import soundfile

import atst
import atst.cli  # these two, so that each child need not
import atst.commands.finetune

TUNE = ("batch_size=2", "max_epochs=2", "warmup_epochs=0", "precision=float32", "workers=0")


@dataclass(frozen=True)
class Command:
    """Its arguments by the folders of inputs and output, and the result in the latter, None without one."""

    arguments: Callable[[Path, Path], list[object]]
    result: Callable[[Path], object]
    again: tuple[str, ...] = ()  # what a rerun needs besides


def texts(*names: str) -> Callable[[Path], object]:
    """The content of these files, if all are there."""

    def read(out: Path) -> object:
        files = [out / name for name in names]
        return [file.read_bytes() for file in files] if all(file.exists() for file in files) else None

    return read


def rows(out: Path) -> object:
    file = out / "x.parquet"
    return pq.read_table(file).to_pydict() if file.exists() else None


def packed(out: Path) -> object:
    shards = sorted(out.glob("corpus/shard-*"))
    return [shard.read_bytes() for shard in shards] if (out / "corpus" / "index.parquet").exists() else None


def measured(out: Path) -> object:
    """The table of an evaluation; without a row where what it was to measure has failed."""
    file = out / "table" / "table.csv"
    return file.read_text() if file.exists() and len(file.read_text().splitlines()) > 1 else None


def figures(out: Path) -> object:
    """Results, predictions and weights; `report.html` is written last."""
    if not (out / "done" / "report.html").exists():
        return None
    results = json.loads((out / "done" / "results.json").read_text())
    numbers = [results[key] for key in ("value", "ci", "calibration", "clips", "skipped")]
    return numbers, texts("done/predictions.csv", "done/model/head.safetensors")(out)


COMMANDS = {
    "embed": Command(
        lambda s, out: ["embed", s / "meta.csv", "--model", "logmel", "--out", out / "x.parquet", "-q"], rows
    ),
    "embed --resume": Command(
        lambda s, out: [*COMMANDS["embed"].arguments(s, out), "--resume"],
        rows,
    ),
    "pack": Command(
        lambda s, out: ["pack", s / "meta.csv", "--out", out / "corpus", "-q"], packed, ("--resume",)
    ),
    "probe": Command(
        lambda s, out: ["probe", s / "meta.csv", "--model", "logmel", "--out", out / "done", "-q"], figures
    ),
    "finetune": Command(
        lambda s, out: (
            ["finetune", s / "meta.csv", "--model", "random:nano", "--out", out / "done", "--device", "cpu"]
            + [word for key in TUNE for word in ("--set", key)]
            + ["-q"]
        ),
        figures,
        ("--resume",),
    ),
    "predict": Command(
        lambda s, out: ["predict", s / "meta.csv", "--model", s / "probe", "--out", out / "p.csv", "-q"],
        texts("p.csv"),
    ),
    "check": Command(lambda s, out: ["check", s, "--out", out / "c.csv", "-q"], texts("c.csv")),
    "search": Command(
        lambda s, out: ["search", s / "x.parquet", s / "00.wav", "--out", out / "hits.csv", "-q"],
        texts("hits.csv"),
    ),
    "evaluate": Command(lambda s, out: ["evaluate", s / "plan.yaml", "--out", out / "table", "-q"], measured),
    "export": Command(
        lambda s, out: ["export", "random:conv-nano", "--out", out / "m.onnx"], texts("m.onnx", "embed_m.py")
    ),
}


def make_inputs(folder: Path) -> Path:
    """Twelve recordings, a table of their labels, and a plan of an evaluation."""
    folder.mkdir(parents=True)
    lines = ["path,label,split"]
    for i in range(12):
        tone = np.sin(np.arange(8000) * (0.1 if i % 2 else 0.4))
        soundfile.write(folder / f"{i:02}.wav", tone * (0.1 + 0.01 * i), 16000)
        lines.append(f"{i:02}.wav,{'ab'[i % 2]},{('train', 'valid', 'test')[i // 2 % 3]}")
    (folder / "meta.csv").write_text("\n".join(lines) + "\n")
    plan = {"models": {"a": "logmel"}, "tasks": {"mine": str(folder / "meta.csv")}, "protocols": ["simple"]}
    (folder / "plan.yaml").write_text(json.dumps(plan))
    return folder


def add_needed(name: str, folder: Path) -> None:
    """What a command reads that another one writes: a classifier, or a library."""
    if name == "predict" and not (folder / "probe").exists():
        assert run(COMMANDS["probe"].arguments(folder, folder))[0] == 0
        (folder / "done").rename(folder / "probe")
    if name == "search" and not (folder / "x.parquet").exists():
        assert run(COMMANDS["embed"].arguments(folder, folder))[0] == 0


def run(
    arguments: list[object],
    prepare: Callable[[], object] = lambda: None,
    kill: tuple[int, float] | None = None,
) -> tuple[int, str]:
    """Exit code and standard error of `atst`, after `prepare()`; `kill` is a signal and when it comes.

    The exit code is negative where a signal ended the process.
    """
    given, told = os.pipe()
    child = os.fork()
    if child == 0:
        _work([str(argument) for argument in arguments], told, prepare, kill)
    os.close(told)
    with os.fdopen(given, encoding="utf-8", errors="replace") as stream:
        text = stream.read()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), text


def _work(
    arguments: list[str], told: int, prepare: Callable[[], object], kill: tuple[int, float] | None
) -> None:
    code = 70
    try:
        for number, stream in ((1, "stdout"), (2, "stderr")):
            os.dup2(told, number)
            setattr(sys, stream, io.TextIOWrapper(io.FileIO(number, "w"), write_through=True))
        os.close(told)
        prepare()
        if kill is not None:
            timer = threading.Timer(kill[1], os.kill, (os.getpid(), kill[0]))
            timer.daemon = True
            timer.start()
        atst.cli.main(arguments)
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 70
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def stopped(code: int, number: int) -> bool:
    """Whether this is the exit code of a process that this signal ended: outside of the work, by itself."""
    return code == -number or (number != signal.SIGKILL and code == 128 + number)
