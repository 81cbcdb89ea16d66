"""Data sets of music and notes, in their publishers' layouts."""

import json
from functools import partial
from pathlib import Path

from atst.errors import UsageError
from atst.tasks.listing import Listing, open_table, read_lines
from atst.tasks.spec import Archive, DatasetSpec

FAMILIES = ["bass", "brass", "flute", "guitar", "keyboard", "mallet", "organ", "reed", "string"]
FAMILIES += ["synth_lead", "vocal"]
GENRES = ["blues", "classical", "country", "disco", "hiphop", "jazz", "metal", "pop", "reggae", "rock"]
NSYNTH = "https://storage.googleapis.com/download.magenta.tensorflow.org/datasets/nsynth/nsynth-"
FAULT_FILTERED = "https://raw.githubusercontent.com/coreyker/dnn-mgr/master/gtzan/"


def read_nsynth(folder: Path, audio: set[str], label: str, classes: list[str] | None) -> Listing:
    """`nsynth-{train,valid,test}/examples.json`: note -> its fields; the file is `audio/NOTE.wav`."""
    listing = Listing([], [], [], classes=classes)
    for part in ("train", "valid", "test"):
        table = folder / f"nsynth-{part}" / "examples.json"
        try:
            with open_table(table) as stream:
                notes = json.load(stream)
            labels = {name: str(fields[label]) for name, fields in notes.items()}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UsageError(f"{table} is not NSynth's: {type(error).__name__} {error}") from error
        listing.files += [f"nsynth-{part}/audio/{name}.wav" for name in labels]
        listing.labels += [[value] for value in labels.values()]
        listing.parts += [part] * len(labels)
    return listing


def read_gtzan(folder: Path, audio: set[str]) -> Listing:
    """`{train,valid,test}_filtered.txt`: `blues/blues.00029.wav` a line, of 930 clips without known faults.

    The split is by C. Kereliuk et al. 2015; GTZAN itself has none. A clip's file, `.au` or `.wav`, is found
    by its name anywhere below the folder.
    """
    by_stem = {file.rsplit("/", 1)[-1].rsplit(".", 1)[0]: file for file in sorted(audio)}
    listing = Listing([], [], [], classes=GENRES)
    for part in ("train", "valid", "test"):
        for line in read_lines(folder / f"{part}_filtered.txt"):
            stem = line.rsplit("/", 1)[-1].removesuffix(".wav").removesuffix(".au")
            listing.files.append(by_stem.get(stem, line))
            listing.labels.append([stem.split(".")[0]])
            listing.parts.append(part)
    return listing


def _nsynth(
    about: str, label: str, names: list[str] | None, learning_rates: tuple[float, ...] | None
) -> DatasetSpec:
    parts = ("train", "valid", "test")
    return DatasetSpec(
        about,
        "nsynth",
        "NSynth, J. Engel et al. 2017, https://magenta.tensorflow.org/datasets/nsynth",
        "CC BY 4.0",
        "--download, or https://magenta.tensorflow.org/datasets/nsynth (the json/wav archives)",
        {"train": 289205, "valid": 12678, "test": 4096},
        len(names) if names else None,
        read=partial(read_nsynth, label=label, classes=names),
        page="https://magenta.tensorflow.org/datasets/nsynth",
        needs=tuple(f"nsynth-{part}/examples.json" for part in parts),
        audio=tuple(f"nsynth-{part}/audio" for part in parts),
        archives=tuple(Archive(f"{NSYNTH}{part}.jsonwav.tar.gz") for part in parts),
        learning_rates=learning_rates,
    )


def _gmnotes(about: str, clips: dict[str, int], classes: int, table: str) -> DatasetSpec:
    return DatasetSpec(
        about,
        "gmnotes",
        "notes rendered from the FluidR3 General MIDI sound font",
        "MIT",
        "not published",
        clips,
        classes,
        table=table,
    )


MUSIC: dict[str, DatasetSpec] = {
    "nsynth": _nsynth("11 families of instruments", "instrument_family_str", FAMILIES, (2.5e-4, 5e-4, 1e-3)),
    "nsynth-pitch": _nsynth("MIDI pitches of instrument notes", "pitch", None, None),
    "gtzan": DatasetSpec(
        "10 genres of music, fault-filtered split",
        "gtzan",
        "GTZAN, G. Tzanetakis and P. Cook 2002; split of C. Kereliuk et al. 2015",
        "none stated",
        f"the lists with --download, or {FAULT_FILTERED}; the audio is no longer at its "
        "original address, http://opihi.cs.uvic.ca/sound/genres.tar.gz: use a copy of genres.tar.gz",
        {"train": 443, "valid": 197, "test": 290},
        10,
        "22.05 kHz",
        read=read_gtzan,
        page="https://github.com/coreyker/dnn-mgr/tree/master/gtzan",
        needs=tuple(f"{part}_filtered.txt" for part in ("train", "valid", "test")),
        spare="clips with faults, which the split leaves out",
        archives=tuple(
            Archive(f"{FAULT_FILTERED}{part}_filtered.txt") for part in ("train", "valid", "test")
        ),
    ),
    "gmnotes": _gmnotes(
        "11 instrument families, programs unseen in training",
        {"train": 1344, "valid": 264, "test": 456},
        11,
        "meta.csv",
    ),
    "gmnotes-pitch": _gmnotes(
        "12 pitch classes of instrument notes", {"all": 2064}, 12, "meta_pitch_class.csv"
    ),
}
