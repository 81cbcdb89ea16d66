"""Data sets of everyday sounds, in their publishers' layouts."""

import csv
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from atst.errors import UsageError
from atst.tasks.listing import Listing, open_table, read_rows
from atst.tasks.spec import Archive, DatasetSpec

US8K = "UrbanSound8K.csv"
AUDIOSET_CSV = "https://storage.googleapis.com/us_audioset/youtube_corpus/v1/csv/"
FSD50K_PARTS = {"train": "train", "val": "valid", "eval": "test"}
FSD50K = "https://zenodo.org/records/4060432/files/FSD50K."
# A YouTube id has 11 characters. Downloaders add an initial Y, or the start and end of the segment.
YOUTUBE_FILE = re.compile(r"(Y?)([\w-]{11})(_[\d.]+([_-][\d.]+)?)?", re.ASCII)


def read_audioset(folder: Path, audio: set[str], train: tuple[str, ...]) -> Listing:
    """`*_segments.csv`: YTID, start_seconds, end_seconds, "mid,mid,..." below comments; classes by index.

    A clip's file is found by its YouTube id anywhere below the folder: `ID.wav`, `YID.wav`, `ID_30.000.wav`,
    `ID_30.000_40.000.wav`, `ID_30.0-40.0.wav`, `ID_30000.wav`, with any audio extension.
    """
    mids = {row["mid"]: row["display_name"] for row in read_rows(folder / LABELS, ("mid", "display_name"))}
    by_id = _by_youtube_id(audio)
    known: dict[str, tuple[str, ...]] = {}  # the labels in a cell; most of two million cells are equal
    listing = Listing([], [], [], classes=list(mids.values()), multi_label=True)
    for part, names in (("train", train), ("test", (EVAL,))):
        for name in names:
            for youtube_id, cell in _segments(folder / name):
                if (labels := known.get(cell)) is None:
                    labels = known[cell] = tuple(mids.get(mid, "") for mid in cell.split(","))
                    if "" in labels:
                        unknown = cell.split(",")[labels.index("")]
                        raise UsageError(f"{folder / name}: class '{unknown}' is not in {LABELS}.")
                listing.files.append(by_id.get(youtube_id, youtube_id))
                listing.labels.append(labels)
                listing.parts.append(part)
    return listing


def read_us8k(folder: Path, audio: set[str]) -> Listing:
    """`metadata/UrbanSound8K.csv`; the file is `audio/foldN/slice_file_name`. Ten folds, never reshuffled.

    Some copies have the table beside the folders `foldN`.
    """
    table = folder / "metadata" / US8K
    rows = list(read_rows(table if table.is_file() else folder / US8K, ("slice_file_name", "fold", "class")))
    files = [f"fold{row['fold']}/{row['slice_file_name']}" for row in rows]
    return Listing(
        [file if file in audio else f"audio/{file}" for file in files],
        [[row["class"]] for row in rows],
        [row["fold"] for row in rows],
        "fold",
    )


def read_esc(folder: Path, audio: set[str], only_esc10: bool) -> Listing:
    """`meta/esc50.csv`: filename, fold, category, esc10 (True or False); the file is `audio/filename`."""
    rows = list(read_rows(folder / "meta" / "esc50.csv", ("filename", "fold", "category", "esc10")))
    rows = [row for row in rows if not only_esc10 or row["esc10"].lower() == "true"]  # a spreadsheet: TRUE
    files = [f"audio/{row['filename']}" for row in rows]
    return Listing(files, [[row["category"]] for row in rows], [row["fold"] for row in rows], "fold")


def read_fsd50k(folder: Path, audio: set[str]) -> Listing:
    """`FSD50K.ground_truth/`: dev.csv with split train or val, eval.csv the test; labels joined by commas.

    `vocabulary.csv` (index, label, mid; no header) gives the order of the 200 classes.
    """
    truth = folder / "FSD50K.ground_truth"
    with open_table(truth / "vocabulary.csv") as stream:
        classes = [row[1] for row in csv.reader(stream) if len(row) > 1]
    listing = Listing([], [], [], classes=classes, multi_label=True)
    for name, columns in (("dev", ("fname", "labels", "split")), ("eval", ("fname", "labels"))):
        for row in read_rows(truth / f"{name}.csv", columns):
            listing.files.append(f"FSD50K.{name}_audio/{row['fname']}.wav")
            listing.labels.append(row["labels"].split(","))
            listing.parts.append(FSD50K_PARTS.get(row.get("split", "eval"), row.get("split", "")))
    return listing


def _segments(path: Path) -> Iterator[tuple[str, str]]:
    with open_table(path) as stream:
        for row in csv.reader(stream, skipinitialspace=True):
            if not row or row[0].startswith("#"):
                continue
            if len(row) != 4:
                raise UsageError(f"{path}: expected YTID, start, end, labels; found {', '.join(row)}.")
            yield row[0], row[3]


def _by_youtube_id(audio: set[str]) -> dict[str, str]:
    """Audio files by the YouTube id in their name; a plain id takes precedence over one after a Y."""
    plain: dict[str, str] = {}
    after_y: dict[str, str] = {}
    for file in audio:
        if match := YOUTUBE_FILE.fullmatch(file, file.rfind("/") + 1, file.rfind(".")):
            found = after_y if match[1] else plain
            found[match[2]] = min(file, found.get(match[2], file))
    return after_y | plain


LABELS = "class_labels_indices.csv"
BALANCED, UNBALANCED, EVAL = (
    f"{part}_segments.csv" for part in ("balanced_train", "unbalanced_train", "eval")
)


def _audioset(about: str, clips: int, *train: str) -> DatasetSpec:
    needs = (*train, EVAL, LABELS)
    return DatasetSpec(
        about,
        "audioset",
        "AudioSet, J. F. Gemmeke et al. 2017, https://research.google.com/audioset/",
        "lists CC BY 4.0; each video its own",
        "the lists with --download; the audio of the videos, which vanish, with a downloader of your choice",
        {"train": clips, "test": 20371},
        527,
        "as downloaded",
        "mAP",
        partial(read_audioset, train=train),
        "https://research.google.com/audioset/download.html",
        needs,
        spare="clips of other AudioSet lists",
        vanishing=True,
        archives=tuple(Archive(AUDIOSET_CSV + name) for name in needs),
        learning_rates=(0.5, 1.0, 2.0, 4.0),
    )


def _esc(about: str, folder: str, each: int, classes: int, license: str, spare: str) -> DatasetSpec:
    return DatasetSpec(
        about,
        folder,
        f"ESC-{classes}, K. J. Piczak 2015, https://github.com/karolpiczak/ESC-50",
        license,
        "--download, or https://github.com/karolpiczak/ESC-50/archive/master.zip",
        {str(fold): each for fold in range(1, 6)},
        classes,
        "44.1 kHz",
        read=partial(read_esc, only_esc10=classes == 10),
        page="https://github.com/karolpiczak/ESC-50#repository-content",
        needs=("meta/esc50.csv",),
        audio=("audio",),
        spare=spare,
        archives=(Archive("https://github.com/karolpiczak/ESC-50/archive/master.zip"),),
    )


SOUNDS: dict[str, DatasetSpec] = {
    "audioset20k": _audioset("527 classes of sound, balanced training list", 22160, BALANCED),
    "audioset2m": _audioset("527 classes of sound, both training lists", 2063949, BALANCED, UNBALANCED),
    "us8k": DatasetSpec(
        "10 urban sounds, 10 folds",
        "us8k",
        "UrbanSound8K, J. Salamon et al. 2014, https://urbansounddataset.weebly.com/urbansound8k.html",
        "CC BY-NC 3.0",
        "--download, or https://zenodo.org/records/1203745",
        {"all": 8732},
        10,
        "as uploaded",
        read=read_us8k,
        page="https://urbansounddataset.weebly.com/urbansound8k.html",
        needs=((f"metadata/{US8K}", US8K),),
        audio=("audio", *(f"fold{number}" for number in range(1, 11))),
        archives=(
            Archive(
                "https://zenodo.org/records/1203745/files/UrbanSound8K.tar.gz",
                "md5:9aa69802bbf37fb986f71ec1483a196e",
                "Zenodo",
            ),
        ),
        learning_rates=(2e-3,),
    ),
    "esc50": _esc("50 environmental sounds, 5 folds", "esc50", 400, 50, "CC BY-NC 3.0", ""),
    "esc10": _esc(
        "10 environmental sounds, 5 folds", "esc10", 80, 10, "CC BY 3.0", "the other classes of ESC-50"
    ),
    "fsd50k": DatasetSpec(
        "200 classes of sound",
        "fsd50k",
        "FSD50K, E. Fonseca et al. 2020, https://zenodo.org/records/4060432",
        "CC BY 4.0; each clip its own",
        "--download, or https://zenodo.org/records/4060432",
        {"train": 36796, "valid": 4170, "test": 10231},
        200,
        "44.1 kHz",
        "mAP",
        read_fsd50k,
        "https://zenodo.org/records/4060432",
        tuple(f"FSD50K.ground_truth/{name}.csv" for name in ("dev", "eval", "vocabulary")),
        audio=("FSD50K.dev_audio", "FSD50K.eval_audio"),
        archives=tuple(
            Archive(FSD50K + name, f"md5:{checksum}", "Zenodo")
            for name, checksum in {
                "ground_truth.zip": "ca27382c195e37d2269c4c866dd73485",
                "eval_audio.z01": "3090670eaeecc013ca1ff84fe4442aeb",
                "eval_audio.zip": "6fa47636c3a3ad5c7dfeba99f2637982",
                "dev_audio.z01": "faa7cf4cc076fc34a44a479a5ed862a3",
                "dev_audio.z02": "8f9b66153e68571164fb1315d00bc7bc",
                "dev_audio.z03": "1196ef47d267a993d30fa98af54b7159",
                "dev_audio.z04": "d088ac4e11ba53daf9f7574c11cccac9",
                "dev_audio.z05": "81356521aa159accd3c35de22da28c7f",
                "dev_audio.zip": "c480d119b8f7a7e32fdb58f3ea4d6c5a",
            }.items()
        ),
        learning_rates=(0.1, 1.0, 2.0, 4.0),
    ),
}
