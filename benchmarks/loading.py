"""What it costs to load training data: segments from a packed corpus, and the start on many files.

    python benchmarks/loading.py [--clips 4000] [--files 100000] [--many 1000000] [--folder DIR] [--only NAME]

- `segments`: two segments of 6 s a clip of a packed corpus in random order, warm, one process, by the corpus
  that `pretrain` reads, against the plain memory map of the same shards in turn (what reading and conversion
  alone cost). Clips for a second of processor time, whatever else the machine does meanwhile.
- `start`: seconds from the command to a corpus of many indexed files, of the same files without an index, and
  of one file; wall clock and processor time.
- `memory`: peak memory of a short `pretrain` (`nano`, one loader process, all its processes) on many indexed
  clips and on 1,000: files in folders, and packed.

The many files are hard links to a few (a folder for each 1,000), and the clips of the large packed corpora
the same seconds of a few shards: what counts here is their number. The index of a million files is written
without opening them, since all are equal.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import soundfile

import atst
from atst.corpus import PackedCorpus, headers, open_corpus
from atst.sound.packed import INDEX, open_packed

SEGMENT = 6.0  # s
START = "import sys; from atst.corpus import open_corpus; print(len(open_corpus(sys.argv[1:])))"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clips", type=int, default=4000, help="of 10 s, for `segments`")
    parser.add_argument("--files", type=int, default=100_000, help="for `start`")
    parser.add_argument("--many", type=int, default=1_000_000, help="clips for `memory`")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--only", choices=["segments", "start", "memory"])
    options = parser.parse_args()
    parts = {
        "segments": lambda folder: segments(folder, options.clips),
        "start": lambda folder: start(folder, options.files),
        "memory": lambda folder: memory(folder, options.many),
    }
    for name, part in parts.items():
        if options.only in (None, name):
            with tempfile.TemporaryDirectory(dir=options.folder) as folder:
                os.environ["ATST_CACHE"] = f"{folder}/cache"
                part(Path(folder))


def segments(folder: Path, clips: int) -> None:
    """Print clips/s by the corpus and by the plain map of its shards."""
    corpus = clip_corpus(folder / "corpus", clips, 160_000)
    opened = open_corpus([corpus])
    assert isinstance(opened, PackedCorpus)
    maps = [np.memmap(path, "<i2", "r") for path in sorted(corpus.glob("*.pcm"))]
    packed = opened.packed

    def by_corpus(clip: int, starts: list[float]) -> float:
        return sum(float(opened.read(clip, start, SEGMENT)[0]) for start in starts)

    def by_map(clip: int, starts: list[float]) -> float:
        first = [int(packed.offset[clip]) + round(start * 16000) for start in starts]
        pieces = [maps[packed.shard[clip]][at : at + 96_000] for at in first]
        return sum(float(np.multiply(piece, np.float32(1 / 32768), dtype=np.float32)[0]) for piece in pieces)

    for path in corpus.iterdir():
        path.read_bytes()
    for turn in range(3):
        rates = [rate(read, clips, turn) for read in (by_corpus, by_map)]
        print(f"segments: {rates[0]:.0f} clips/s by the corpus, {rates[1]:.0f} by a plain map, {clips} clips")


def rate(read, clips: int, turn: int, seconds: float = 3.0) -> float:
    """Clips a second of processor time: other processes may keep this one waiting."""
    rng = np.random.default_rng(turn)
    began, count = time.process_time(), 0
    while time.process_time() - began < seconds:
        read(int(rng.integers(clips)), rng.uniform(0, 4, 2).tolist())
        count += 1
    return count / (time.process_time() - began)


def start(folder: Path, files: int) -> None:
    """Print seconds from the command to the corpus."""
    link_files(folder / "sounds", files)
    link_files(folder / "one", 1)
    for what, source in (("without an index", "sounds"), ("indexed", "sounds"), ("one file", "one")):
        began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-c", START, folder / source], check=True, stdout=subprocess.DEVNULL)
        wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
        used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        count = 1 if source == "one" else files
        print(f"start: {wall:.2f} s, {used:.2f} of a processor, {count} files, {what}", flush=True)


def memory(folder: Path, many: int) -> None:
    """Print the peak memory of a short training from many clips and from 1,000."""
    link_files(folder / "few", 1000)
    link_files(folder / "many", many)
    clip_corpus(folder / "few-packed", 1000, 16_000)
    clip_corpus(folder / "many-packed", many, 16_000)
    headers._headers = lambda files, numbers: (1.0 for _ in numbers)  # what reading them would give
    open_corpus([folder / "many"])
    for kind in ("", "-packed"):
        few, most = (training_peak(folder / f"{name}{kind}", folder / "runs") for name in ("few", "many"))
        what = f"{most:.0f} MB from {many} clips, {few:.0f} from 1,000: +{most - few:.0f}"
        print(f"memory: {what} ({'packed' if kind else 'files'})", flush=True)


def training_peak(source: Path, out: Path) -> float:
    """Peak of the proportional memory (PSS) of a training and its processes, MB."""
    settings = ("max_steps=6", "batch_size=16", "workers=1", "warmup_steps=1", "precision=float32")
    process = subprocess.Popen(pretrain_command(source, out / str(time.time_ns()), *settings))
    peak = 0.0
    ended = threading.Event()
    while process.poll() is None:
        peak = max(peak, tree_memory(process.pid))
        ended.wait(0.05)
    assert process.returncode == 0
    return peak


def pretrain_command(source: Path, out: Path, *settings: str) -> list[str]:
    """`atst pretrain` with recipe `nano`, in a process of its own."""
    command = [sys.executable, "-m", "atst", "pretrain", str(source), "--out", str(out)]
    return [*command, "--recipe", "nano", "-q", *(part for one in settings for part in ("--set", one))]


def tree_memory(process: int) -> float:
    """MB of a process and those below it; pages that several share count once in all."""
    total = 0.0
    try:
        rows = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
        total += (
            sum(int(row.split()[1]) for row in rows if row.startswith(("Pss_Anon:", "Pss_Shmem:"))) / 1024
        )
        for task in Path(f"/proc/{process}/task").iterdir():
            total += sum(map(tree_memory, map(int, (task / "children").read_text().split())))
    except OSError:  # it has ended
        pass
    return total


def link_files(folder: Path, count: int) -> None:
    """So many files of 1 s by hard links, which differ in name alone; 60,000 at most to one file."""
    noise = np.random.default_rng(0).uniform(-0.1, 0.1, 16_000)
    for number in range(count):
        inside = folder / f"{number // 1000:04}"
        if number % 1000 == 0:
            inside.mkdir(parents=True)
        path = inside / f"recording-{number:07}.wav"
        if number % 50_000 == 0:
            first = path
            soundfile.write(path, noise, 16_000)
        else:
            os.link(first, path)


def clip_corpus(folder: Path, count: int, samples: int) -> Path:
    """A packed corpus of so many clips; those beyond 20,000 are the same samples as others."""
    noise = np.random.default_rng(0).uniform(-0.1, 0.1, samples * 2)
    sounds = folder.with_name(f"{folder.name}-sounds")
    sounds.mkdir()
    real = min(count, 20_000)
    for number in range(min(count, 100)):
        soundfile.write(
            sounds / f"{number:07}.wav", noise[number : number + samples], 16_000, subtype="PCM_16"
        )
    atst.pack([sounds], out=folder, quiet=True)
    one = open_packed(folder)
    assert one is not None
    shard = (folder / "shard-00000.pcm").read_bytes()
    per_shard, shards = len(one), []
    for number in range(-(-real // per_shard)):
        (folder / f"shard-{number:05}.pcm").write_bytes(shard)
        shards.append(len(shard) // 2)
    table = pq.read_table(folder / INDEX)
    rows = np.arange(count)
    values = {name: table[name].take(pa.array(rows % per_shard)) for name in table.column_names}
    values["shard"] = pa.array(rows // per_shard % len(shards), pa.int32())
    values["path"] = pa.array([f"{n // 1000:04}/recording-{n:07}.wav" for n in range(count)])
    about = json.loads(table.schema.metadata[b"atst"]) | {"shards": shards}
    schema = table.schema.with_metadata({"atst": json.dumps(about)})
    pq.write_table(pa.table(values, schema), folder / INDEX)
    return folder


if __name__ == "__main__":
    main()
