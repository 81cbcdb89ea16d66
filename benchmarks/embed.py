"""How fast files are embedded, decoding and front end included, against the bare encoder.

    python benchmarks/embed.py [--models random:small random:nano atst-nano] [--precision float32 bf16]
                               [--files 24] [--rounds 5] [--formats "WAV 16 kHz" FLAC]
    python benchmarks/embed.py --short 2000 [--against CHECKOUT] [--rounds 3]

First, for files of 10 s of each format: seconds of sound embedded in a second, and their ratio to a bare
PyTorch encoder of the same shape in float32 on log-mels that are there already, without a mask. Both take
turns; the ratio of a round counts, and the median of all rounds is printed. "By processor time" is the same
ratio of what all processes compute, which a busy machine disturbs less: it is what the wall clock shows where
decoding and encoding overlap perfectly. The last column is the share of a matrix product's speed, measured in
the same rounds. `--short` times `atst embed` on files of 1 s, from the command to the Parquet file, also with
the sources of another checkout, both in turn.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from torch import Tensor, nn

import atst
from atst.cores import in_parallel, limit_threads
from atst.library.rows import clip_rows
from atst.model.audio_model import AudioModel
from atst.model.chunks import counted_chunks
from atst.model.encoder import SIZES, forward_flops, patches
from atst.model.matmul import fast_products
from atst.model.replicas import spread
from atst.sound.find import find_audio
from atst.sound.pool import Pool
from atst.sound.windows import cutter, read_all
from atst.training import memory

FORMATS: dict[str, tuple[str, int, dict[str, str]]] = {
    "WAV 16 kHz": ("wav", 16000, {}),
    "WAV 44.1 kHz": ("wav", 44100, {}),
    "FLAC": ("flac", 44100, {}),
    "MP3": ("mp3", 44100, {}),
    "Vorbis": ("ogg", 44100, {}),
    "Opus": ("opus", 48000, {"format": "OGG", "subtype": "OPUS"}),
}
SECONDS = 10
HERE = Path(__file__).resolve().parents[1]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="+", default=["random:small", "random:nano", "atst-nano"])
    parser.add_argument("--precision", nargs="+", default=["float32"], choices=("float32", "bf16"))
    parser.add_argument("--formats", nargs="+", default=list(FORMATS), choices=FORMATS)
    parser.add_argument("--files", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--short", type=int, metavar="FILES")
    parser.add_argument("--against", type=Path, metavar="CHECKOUT")
    options = parser.parse_args()
    threads = limit_threads()
    memory.keep()  # as the command does
    print("$", *map(str, [Path(sys.executable).name, *sys.argv]), f"({threads} threads)", flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if options.short:
            short(folder, options.short, options.against, options.rounds, options.models)
        else:
            for format_ in options.formats:
                write(folder / format_, FORMATS[format_], options.files)
            print("| model, precision | format | s of sound a second | of the bare encoder "
                  "| by processor time | of the peak |\n|---|---|---|---|---|---|")  # fmt: skip
            for model in options.models:
                for precision in options.precision:
                    compare(folder, model, precision, options.formats, options.rounds)


def write(folder: Path, kind: tuple[str, int, dict[str, str]], files: int) -> None:
    ending, rate, how = kind
    folder.mkdir()
    time_, noise = np.arange(SECONDS * rate) / rate, np.random.default_rng(0)
    for number in range(files):
        tones = sum(np.sin(2 * np.pi * noise.uniform(50, 6000) * time_) for _ in range(8)) / 16
        with soundfile.SoundFile(folder / f"{number}.{ending}", "w", rate, 1, **how) as file:
            for part in np.array_split(tones + noise.normal(0, 0.05, len(tones)), SECONDS):
                file.write(part)  # libsndfile crashes on much Vorbis at once


def compare(folder: Path, name: str, precision: str, formats: list[str], rounds: int) -> None:
    """Print a row a format."""
    model: Any = atst.load(name)
    logmels = front_ends(model, folder / formats[0])
    sound = len(logmels) * SECONDS
    spent: dict[str, list[tuple[float, float]]] = {what: [] for what in ("bare", "peak", *formats)}
    with ExitStack() as stack:
        pool = stack.enter_context(Pool())
        ways: dict[str, Callable[[], None]] = {"bare": bare(model, logmels), "peak": product}
        for format_ in formats:
            recordings = find_audio([folder / format_]).recordings
            ways[format_] = lambda recordings=recordings: embed(pool, model, recordings)
        for turn in range(rounds + 1):
            for what, run in ways.items():
                model.precision = precision
                begin, computed = time.perf_counter(), processor_time(pool)
                run()
                used = time.perf_counter() - begin, processor_time(pool) - computed
                if turn:  # the first warms up
                    spent[what].append(used)
    peak = statistics.median(2 * SIDE**3 * PRODUCTS / wall for wall, _ in spent["peak"])
    for what in ("bare", *formats):
        speed = sound / statistics.median(wall for wall, _ in spent[what])
        turns = list(zip(spent["bare"], spent[what], strict=True))
        ratios = (statistics.median(alone[i] / files[i] for alone, files in turns) for i in (0, 1))
        share = f"{speed * flops(model) / peak:.0%}" if model.encoder.has_cls else ""
        text = " | ".join(f"{ratio:.2f}" for ratio in ratios)
        print(f"| {name}, {precision} | {what} | {speed:.0f} | {text} | {share} |", flush=True)


def embed(pool: Pool, model: AudioModel, recordings: list[Any]) -> None:
    """What `atst embed` does between its start and the writing."""
    how = {"channel": None, "partial": False, "max_duration": None}
    with spread(model) as models:
        windows = read_all(pool, recordings, cutter(None, None), [], **how)
        assert sum(1 for _ in clip_rows(windows, models, 32, {})) == len(recordings)


@torch.inference_mode()
def front_ends(model: AudioModel, folder: Path) -> list[Tensor]:
    return [model.frontend(torch.from_numpy(soundfile.read(file, dtype="float32")[0])[None])[0]
            for file in sorted(folder.iterdir())]  # fmt: skip


def bare(model: AudioModel, logmels: list[Tensor]) -> Callable[[], None]:
    """The encoder alone on chunks of one length, as many at a time as `atst embed` takes, on all threads."""
    size, frames = model.config.chunk_frames, logmels[0].shape[-1]
    groups = [
        torch.stack([logmel[:, start : start + size] for logmel in logmels[at : at + 6]])
        for at in range(0, len(logmels), 6)
        for start in counted_chunks(frames, size)
    ]
    encoder = BareEncoder(model.encoder.size).eval() if model.encoder.has_cls else model.encoder

    def run() -> None:
        with torch.inference_mode(), spread(model) as models:
            list(in_parallel(models, lambda _, group: inferred(encoder, group), groups))

    return run


@torch.inference_mode()
def inferred(encoder: nn.Module, group: Tensor) -> Tensor:
    return encoder(group)


class BareEncoder(nn.Module):
    """A transformer of one of `SIZES` over patches, of PyTorch's layers alone; attention spelled out."""

    def __init__(self, size: str) -> None:
        super().__init__()
        width, depth, self.heads = SIZES[size]
        self.embed = nn.Linear(256, width)
        self.blocks = nn.ModuleList(
            nn.ModuleList([
                nn.LayerNorm(width), nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width),
                nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.Linear(4 * width, width),
            ])
            for _ in range(depth)
        )  # fmt: skip
        self.norm = nn.LayerNorm(width)

    def forward(self, logmels: Tensor) -> Tensor:
        x = self.embed(patches(logmels))  # (B, P, D)
        x = torch.cat([x[:, :1], x], dim=1)
        for norm1, qkv, proj, norm2, fc1, fc2 in self.blocks:
            batch, tokens, width = x.shape
            parts = qkv(norm1(x)).view(batch, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
            scores = parts[0] @ parts[1].transpose(-1, -2) * (width // self.heads) ** -0.5
            x = x + proj((scores.softmax(-1) @ parts[2]).transpose(1, 2).reshape(batch, tokens, width))
            x = x + fc2(nn.functional.gelu(fc1(norm2(x))))
        return self.norm(x)


SIDE, PRODUCTS = 1536, 4


def product() -> None:
    """Of matrices, as the encoder multiplies its own."""
    matrix = torch.ones(SIDE, SIDE)
    with fast_products():
        for _ in range(PRODUCTS):
            matrix @ matrix


def flops(model: AudioModel) -> float:
    """Of the encoder for a second of a file."""
    frames, size = SECONDS * 100 + 1, model.config.chunk_frames
    chunks = (min(size, frames - start) for start in counted_chunks(frames, size))
    return sum(forward_flops(model.encoder.size, chunk) for chunk in chunks) / SECONDS


def processor_time(pool: Pool) -> float:
    """Of this process and those that decode."""
    total = time.process_time()
    for decoder in pool.decoders:
        if decoder.process is not None:
            fields = Path(f"/proc/{decoder.process.pid}/stat").read_text().rpartition(")")[2].split()
            total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return total


def short(folder: Path, files: int, other: Path | None, rounds: int, models: list[str]) -> None:
    """Print a row a checkout and model: seconds of the command, and those that its processes computed."""
    for number in range(files):
        noise = np.random.default_rng(number).normal(0, 0.1, 16000)
        soundfile.write(folder / f"{number:06}.wav", noise, 16000)
    checkouts = {"this": HERE, **({"other": other.resolve()} if other else {})}
    print("| model | checkout | s | processor s |\n|---|---|---|---|")
    for model in models:
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in checkouts}
        for _ in range(rounds):
            for name, checkout in checkouts.items():
                begin, computed = time.perf_counter(), children_time()
                command(checkout, folder, model, folder / "x.parquet")
                times[name].append((time.perf_counter() - begin, children_time() - computed))
        for name, spent in times.items():
            wall, computed = (statistics.median(values) for values in zip(*spent, strict=True))
            print(f"| {model} | {name} | {wall:.1f} | {computed:.1f} |", flush=True)


def command(checkout: Path, sounds: Path, model: str, out: Path, **started: Any) -> None:
    policy = os.environ.get("OMP_WAIT_POLICY", "PASSIVE")
    environment = {**os.environ, "PYTHONPATH": str(checkout / "src"), "OMP_WAIT_POLICY": policy}
    arguments = ["embed", str(sounds), "--model", model, "--out", str(out), "--quiet"]
    subprocess.run([sys.executable, "-m", "atst", *arguments], env=environment, check=True, **started)


def children_time() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
