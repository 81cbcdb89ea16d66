"""Which format for a packed corpus: clips/s, memory, start-up of the candidates, warm and cold.

    python benchmarks/packed_formats.py [--gigabytes 3] [--seconds 4] [--folder DIR]

Synthetic clips of 10 s (16-bit noise at 16 kHz, which no compression shortens) are written once in each
format. Then 1 and 2 processes read two segments of 6 s each of clips in random order, as float32, for some
seconds. WebDataset alone cannot be read at random: it gives its clips in the order of its shards, shuffled in
a buffer. Warm: a run before has read every file; "a core" is for a second of processor time. Cold: all is on
disk (`fsync`) and dropped from the page cache (`posix_fadvise`, DONTNEED) before the run; what the disk, or a
virtual machine's host, keeps is not dropped. Memory is a process's own (anonymous), without files that it
maps. Candidates whose package is missing are left out:

    pip install pylance datasets webdataset
"""

import argparse
import importlib.util
import io
import json
import multiprocessing
import os
import shutil
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

RATE, CLIP, SEGMENT = 16000, 160000, 96000  # Hz, samples
SHARD = 800  # clips: 256 MB

Read = Callable[[int, int], np.ndarray]  # a clip's number, the first sample: a segment as int16


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gigabytes", type=float, default=3.0)
    parser.add_argument("--seconds", type=float, default=4.0, help="of reading, for each figure")
    parser.add_argument(
        "--folder", type=Path, help="where to write: a disk with room for one format at a time"
    )
    options = parser.parse_args()
    clips = int(options.gigabytes * 1e9) // (2 * CLIP)
    print(f"{clips} clips of 10 s; two segments of 6 s each\n")
    print("| format | workers | warm, clips/s | a core | cold | start, s | memory, MB | size, GB |")
    print("|---|---|---|---|---|---|---|---|")
    for name, candidate in CANDIDATES.items():
        if candidate[0] and importlib.util.find_spec(candidate[0]) is None:
            print(f"| {name} | not installed | | | | | | |")
            continue
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            measure(name, Path(folder), clips, options.seconds)


def measure(name: str, folder: Path, clips: int, seconds: float) -> None:
    """Print the rows of one candidate."""
    CANDIDATES[name][1](folder, clips)
    size = sum(path.stat().st_size for path in files(folder)) / 1e9
    for workers in (1, 2):
        drop(folder)
        cold = run(name, folder, clips, seconds, workers)
        for path in files(folder):
            with path.open("rb") as file:
                while file.read(1 << 24):
                    pass
        warm = run(name, folder, clips, seconds, workers)
        rates = [sum(row["clips"] / row["seconds"] for row in rows) for rows in (warm, cold)]
        a_core = sum(row["clips"] for row in warm) / sum(row["processor"] for row in warm)
        start, memory = max(r["start"] for r in warm), max(r["memory"] for r in warm)
        print(
            f"| {name} | {workers} | {rates[0]:.0f} | {a_core:.0f} | {rates[1]:.0f} | {start:.2f} "
            f"| {memory:.0f} | {size:.2f} |",
            flush=True,
        )


def run(name: str, folder: Path, clips: int, seconds: float, workers: int) -> list[dict[str, float]]:
    """What each of so many processes measured."""
    context = multiprocessing.get_context("spawn")
    ready, results = context.Barrier(workers), context.Queue()
    arguments = [
        (name, str(folder), clips, seconds, worker, workers, ready, results) for worker in range(workers)
    ]
    processes = [context.Process(target=work, args=those) for those in arguments]
    for process in processes:
        process.start()
    rows = [results.get(timeout=600) for _ in processes]
    for process in processes:
        process.join()
    return rows


def work(name, folder, clips, seconds, worker, workers, ready, results) -> None:
    """Read for some seconds in this process."""
    began = time.perf_counter()
    segments = CANDIDATES[name][2](Path(folder), clips, worker, workers)
    next(segments)  # it is open, and has read a first clip
    start = time.perf_counter() - began
    ready.wait()
    began, processor, count, level = time.perf_counter(), time.process_time(), 0, 0.0
    while time.perf_counter() - began < seconds:
        first, second = next(segments)
        level += float(first[-1]) + float(second[-1])
        count += 1
    took = {"seconds": time.perf_counter() - began, "processor": time.process_time() - processor}
    results.put({"clips": count, **took, "start": start, "memory": own_memory()})


def own_memory() -> float:
    """MB that this process holds besides mapped files."""
    rows = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(int(row.split()[1]) for row in rows if row.startswith("Anonymous:")) / 1024


def at_random(read: Read, clips: int, worker: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs of float32 segments of clips in random order, each checked against what was written."""
    rng = np.random.default_rng((1, worker))
    while True:
        clip, *starts = int(rng.integers(clips)), *rng.integers(CLIP - SEGMENT + 1, size=2).tolist()
        pair = [read(clip, start) for start in starts]
        assert pair[0][0] == sample(clip, starts[0]), "not what was written"
        yield as_float(pair[0]), as_float(pair[1])


def as_float(samples: np.ndarray) -> np.ndarray:
    return np.multiply(samples, np.float32(1 / 32768), dtype=np.float32)


BASE = np.random.default_rng(0).integers(-8000, 8000, CLIP + 7 * 1000, dtype=np.int16)


def clip_of(number: int) -> np.ndarray:
    """The samples of a clip."""
    return BASE[number % 1000 * 7 :][:CLIP] + np.int16(number % 20000)


def sample(number: int, at: int) -> np.int16:
    return BASE[number % 1000 * 7 + at] + np.int16(number % 20000)


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def drop(folder: Path) -> None:
    """Write every file to disk and forget it."""
    for path in files(folder):
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


# -- 16-bit shards with a Parquet index, and one plain file --


def write_shards(folder: Path, clips: int) -> None:
    for shard in range(-(-clips // SHARD)):
        with (folder / f"{shard:05}.pcm").open("wb") as file:
            for number in range(shard * SHARD, min(clips, (shard + 1) * SHARD)):
                file.write(clip_of(number).tobytes())
    numbers = np.arange(clips)
    index = {
        "path": [f"clip-{n}.wav" for n in numbers],
        "shard": numbers // SHARD,
        "at": numbers % SHARD * CLIP,
    }
    pq.write_table(pa.table(index), folder / "index.parquet")


def places(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    index = pq.read_table(folder / "index.parquet", columns=["shard", "at"])
    return index["shard"].to_numpy(), index["at"].to_numpy()


def mapped(folder: Path, clips: int, worker: int, workers: int):
    shard, at = places(folder)
    maps = [np.memmap(path, "<i2", "r") for path in sorted(folder.glob("*.pcm"))]
    return at_random(lambda n, start: maps[shard[n]][at[n] + start :][:SEGMENT], clips, worker)


def advised(folder: Path, clips: int, worker: int, workers: int):
    shard, at = places(folder)
    maps = [np.memmap(path, "<i2", "r") for path in sorted(folder.glob("*.pcm"))]

    def read(n: int, start: int) -> np.ndarray:
        values, first = maps[shard[n]], (at[n] + start) * 2
        page = int(first) // 4096 * 4096
        values._mmap.madvise(3, page, int(first) - page + 2 * SEGMENT)  # WILLNEED
        return values[at[n] + start :][:SEGMENT]

    return at_random(read, clips, worker)


def by_pread(folder: Path, clips: int, worker: int, workers: int):
    shard, at = places(folder)
    opened = [os.open(path, os.O_RDONLY) for path in sorted(folder.glob("*.pcm"))]
    return at_random(
        lambda n, start: np.frombuffer(
            os.pread(opened[shard[n]], 2 * SEGMENT, 2 * (int(at[n]) + start)), "<i2"
        ),
        clips,
        worker,
    )


def write_one(folder: Path, clips: int) -> None:
    with (folder / "all.pcm").open("wb") as file:
        for number in range(clips):
            file.write(clip_of(number).tobytes())


def plain_map(folder: Path, clips: int, worker: int, workers: int):
    values = np.memmap(folder / "all.pcm", "<i2", "r")
    return at_random(lambda n, start: values[n * CLIP + start :][:SEGMENT], clips, worker)


# -- the others --

BINARY = pa.schema([pa.field("path", pa.string()), pa.field("sound", pa.large_binary())])


def rows(clips: int, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    for first in range(0, clips, 100):
        numbers = range(first, min(clips, first + 100))
        sounds = pa.array([clip_of(n).tobytes() for n in numbers], pa.large_binary())
        yield pa.record_batch([pa.array([f"clip-{n}.wav" for n in numbers]), sounds], schema=schema)


def write_lance(folder: Path, clips: int) -> None:
    import lance

    reader = pa.RecordBatchReader.from_batches(BINARY, rows(clips, BINARY))
    lance.write_dataset(reader, folder / "it.lance")


def lance_rows(folder: Path, clips: int, worker: int, workers: int):
    import lance

    data = lance.dataset(folder / "it.lance")

    def read(n: int, start: int) -> np.ndarray:
        sound = data.take([n], columns=["sound"])["sound"].chunk(0)
        return np.frombuffer(sound.buffers()[2], "<i2")[start:][:SEGMENT]

    return at_random(read, clips, worker)


BLOB = BINARY.set(1, pa.field("sound", pa.large_binary(), metadata={"lance-encoding:blob": "true"}))


def write_lance_blobs(folder: Path, clips: int) -> None:
    import lance

    reader = pa.RecordBatchReader.from_batches(BLOB, rows(clips, BLOB))
    lance.write_dataset(reader, folder / "it.lance", data_storage_version="2.1")


def lance_blobs(folder: Path, clips: int, worker: int, workers: int):
    import lance

    data = lance.dataset(folder / "it.lance")

    def read(n: int, start: int) -> np.ndarray:
        (blob,) = data.take_blobs("sound", indices=[n])
        blob.seek(2 * start)
        return np.frombuffer(blob.read(2 * SEGMENT), "<i2")

    return at_random(read, clips, worker)


def write_arrow(folder: Path, clips: int) -> None:
    import datasets

    datasets.disable_progress_bars()
    datasets.Dataset.from_generator(
        lambda: ({"path": f"clip-{n}.wav", "sound": clip_of(n).tobytes()} for n in range(clips)),
        features=datasets.Features(
            {"path": datasets.Value("string"), "sound": datasets.Value("large_binary")}
        ),
        cache_dir=str(folder / "cache"),
    ).save_to_disk(folder / "it", max_shard_size="256MB")
    shutil.rmtree(folder / "cache")


def arrow_rows(folder: Path, clips: int, worker: int, workers: int):
    import datasets

    data = datasets.load_from_disk(folder / "it").with_format("arrow")

    def read(n: int, start: int) -> np.ndarray:
        sound = data[n]["sound"].chunk(0)
        return np.frombuffer(sound[0].as_buffer(), "<i2")[start:][:SEGMENT]

    return at_random(read, clips, worker)


def write_tar(folder: Path, clips: int) -> None:
    for shard in range(-(-clips // SHARD)):
        with tarfile.open(folder / f"{shard:05}.tar", "w") as tar:
            for number in range(shard * SHARD, min(clips, (shard + 1) * SHARD)):
                for ending, content in (
                    ("pcm", clip_of(number).tobytes()),
                    ("json", json.dumps(number).encode()),
                ):
                    entry = tarfile.TarInfo(f"{number:08}.{ending}")
                    entry.size = len(content)
                    tar.addfile(entry, io.BytesIO(content))


def tar_stream(folder: Path, clips: int, worker: int, workers: int):
    import webdataset

    shards = [str(path) for path in sorted(folder.glob("*.tar"))][worker::workers]
    data = webdataset.WebDataset(shards, shardshuffle=len(shards), nodesplitter=None, workersplitter=None)
    rng = np.random.default_rng((1, worker))
    while True:
        for row in data.shuffle(100):
            number, sound = json.loads(row["json"]), np.frombuffer(row["pcm"], "<i2")
            one, two = rng.integers(CLIP - SEGMENT + 1, size=2).tolist()
            assert sound[one] == sample(number, one), "not what was written"
            yield as_float(sound[one:][:SEGMENT]), as_float(sound[two:][:SEGMENT])


# name: the package that it needs, what writes it, what reads it
CANDIDATES = {
    "16-bit shards, Parquet index, memory map": ("", write_shards, mapped),
    "the same, read ahead (madvise)": ("", write_shards, advised),
    "the same, pread": ("", write_shards, by_pread),
    "one plain memory map": ("", write_one, plain_map),
    "Lance, rows": ("lance", write_lance, lance_rows),
    "Lance, blobs": ("lance", write_lance_blobs, lance_blobs),
    "HF datasets (Arrow)": ("datasets", write_arrow, arrow_rows),
    "WebDataset (tar), in shard order": ("webdataset", write_tar, tar_stream),
}

if __name__ == "__main__":
    main()
