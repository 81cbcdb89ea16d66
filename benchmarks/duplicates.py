"""How well `atst duplicates` tells copies from other takes, on a set made of real recordings.

    python benchmarks/duplicates.py [--data ../shared/data] [--count 150] [--model logmel] [--folder DIR]

Of each of `--count` recordings (environmental sounds, speech, music, effects) one copy of each kind is made:
encoded again as MP3, Vorbis and Opus, resampled, 3 dB quieter, and trimmed at either end. With them in the
library are all others of ESC-10, among them takes of the same Freesound clip, and takes of words by one
speaker.
"""

import argparse
import csv
import itertools
import tempfile
from collections import defaultdict
from pathlib import Path

import numpy as np
import soundfile
import soxr

import atst
from atst.library.duplicates import duplicates
from atst.library.library import Library

KINDS = ("mp3", "vorbis", "opus", "resampled", "quieter", "trimmed", "trimmed mp3")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--count", type=int, default=40, help="recordings that copies are made of")
    parser.add_argument("--model", action="append", help="models to embed with; default: logmel, functionals")
    parser.add_argument("--folder", type=Path, help="where the set is made; default: a temporary folder")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        if not (folder / "sounds").is_dir():
            make(options.data, folder / "sounds", options.count)
        print("| model | copies found: " + " | ".join(KINDS) + " | precision | takes called copies |")
        print("|" + "---|" * (len(KINDS) + 3))
        for model in options.model or ["logmel", "functionals"]:
            out = folder / f"{Path(model).name}.parquet"
            if not out.exists():
                atst.embed([folder / "sounds"], model=model, out=out, quiet=True)
            print(row(model, Library(out)), flush=True)


def row(model: str, library: Library) -> str:
    """Judge by file names: SOURCE~TAKE~KIND.EXT; copies share source and take, takes the source."""
    names = [tuple(Path(path).stem.split("~")) for path in library.paths]
    pairs, _ = duplicates(library)
    found = {frozenset((Path(pair.path).stem, Path(pair.other_path).stem)) for pair in pairs}
    right = sum(len({tuple(name.split("~")[:2]) for name in pair}) == 1 for pair in found)
    recall = []
    for kind in KINDS:
        copies = [name for name in names if name[2] == kind]
        hits = [frozenset(("~".join(name), "~".join((*name[:2], "original")))) in found for name in copies]
        recall.append(np.mean(hits))
    groups = defaultdict(list)
    for name in names:
        if name[2] == "original":
            groups[name[0]].append("~".join(name))
    takes = [frozenset(pair) for group in groups.values() for pair in itertools.combinations(group, 2)]
    wrong = sum(pair in found for pair in takes)
    numbers = " | ".join(f"{value:.3f}" for value in [*recall, right / max(1, len(found))])
    return f"| {model} | {numbers} | {wrong / len(takes):.3f} ({wrong} of {len(takes)}) |"


def make(data: Path, out: Path, count: int) -> None:
    out.mkdir(parents=True)
    rng = np.random.default_rng(0)
    originals = list(sources(data))
    chosen = set(rng.choice(len(originals), count, replace=False).tolist())
    for number, (name, path) in enumerate(originals):
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
        mono = samples.mean(1)
        soundfile.write(out / f"{name}~original.flac", mono, rate)
        if number in chosen:
            copies(out, name, mono, rate, rng)


def sources(data: Path) -> list[tuple[str, Path]]:
    """SOURCE~TAKE and file: all of ESC-10, 5 takes of each word of two speakers, and clips of the corpus."""
    found = []
    with (data / "tasks/esc10/meta.csv").open() as file:
        for line in csv.DictReader(file):
            path = data / "tasks/esc10" / line["path"]
            found.append((f"esc{line['clip_id']}~{path.stem.rsplit('-', 1)[1]}", path))
    for path in sorted((data / "tasks/fsdd").rglob("*.wav")):
        digit, speaker, take = path.stem.split("_")
        if speaker in ("george", "theo") and int(take) < 5:
            found.append((f"fsdd{digit}{speaker}~{take}", path))
    with (data / "pretrain/manifest.csv").open() as file:
        lines = [line for line in csv.DictReader(file) if float(line["seconds"]) > 1]
    for number, line in enumerate(lines[:: len(lines) // 100][:100]):
        found.append((f"corpus{number}~0", data / "pretrain" / line["path"]))
    return found


def copies(out: Path, name: str, mono: np.ndarray, rate: int, rng: np.random.Generator) -> None:
    def write(kind: str, samples: np.ndarray, to: int, ending: str, **how: str | float) -> None:
        samples = soxr.resample(samples, rate, to) if to != rate else samples
        soundfile.write(out / f"{name}~{kind}.{ending}", np.clip(samples, -1, 1), to, **how)

    write("mp3", mono, 44100, "mp3", compression_level=0.7)
    write("vorbis", mono, rate, "ogg", compression_level=0.7)
    write("opus", mono, 48000, "opus", format="OGG", subtype="OPUS", compression_level=0.9)
    write("resampled", mono, 11025 if rate > 11025 else 22050, "wav")
    write("quieter", mono * 10 ** (-3 / 20), rate, "flac")
    cut = rng.uniform(0.05, 0.25, 2) * len(mono)
    trimmed = mono[round(cut[0]) : len(mono) - round(cut[1])]
    write("trimmed", trimmed, rate, "flac")
    write("trimmed mp3", trimmed, 44100, "mp3", compression_level=0.5)


if __name__ == "__main__":
    main()
