"""The official layouts of the registered data sets: functions of their folder and the audio files in it."""

import csv
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from atst.errors import UsageError
from atst.tasks.listing import Listing, open_table, read_lines, read_rows
from atst.tasks.task import SPLITS

US8K = "UrbanSound8K.csv"
LABELS, EVAL = "class_labels_indices.csv", "eval_segments.csv"  # of AudioSet
FSD50K_PARTS = {"train": "train", "val": "valid", "eval": "test"}
# A YouTube id has 11 characters. Downloaders add an initial Y, or the start and end of the segment.
YOUTUBE_FILE = re.compile(r"(Y?)([\w-]{11})(_[\d.]+([_-][\d.]+)?)?", re.ASCII)
GENRES = ["blues", "classical", "country", "disco", "hiphop", "jazz", "metal", "pop", "reggae", "rock"]
EMOTIONS = {"ANG": "anger", "DIS": "disgust", "FEA": "fear", "HAP": "happy", "NEU": "neutral", "SAD": "sad"}


def read_audioset(folder: Path, audio: set[str], train: Sequence[str]) -> Listing:
    """`*_segments.csv`: YTID, start_seconds, end_seconds, "mid,mid,..." below comments; classes by index.

    A clip's file is found by its YouTube id anywhere below the folder: `ID.wav`, `YID.wav`, `ID_30.000.wav`,
    `ID_30.000_40.000.wav`, `ID_30.0-40.0.wav`, `ID_30000.wav`, with any audio extension.
    """
    mids = {row["mid"]: row["display_name"] for row in read_rows(folder / LABELS, ("mid", "display_name"))}
    by_id = _by_youtube_id(audio)
    known: dict[str, tuple[str, ...]] = {}  # the labels in a cell; most of two million cells are equal
    listing = Listing(classes=list(mids.values()), multi_label=True)
    for part, names in (("train", train), ("test", (EVAL,))):
        for name in names:
            for youtube_id, cell in _segments(folder / name):
                if (labels := known.get(cell)) is None:
                    labels = known[cell] = tuple(mids.get(mid, "") for mid in cell.split(","))
                    if "" in labels:
                        unknown = cell.split(",")[labels.index("")]
                        raise UsageError(f"{folder / name}: class '{unknown}' is not in {LABELS}.")
                listing.add(by_id.get(youtube_id, youtube_id), labels, part)
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
    listing = Listing(classes=classes, multi_label=True)
    for name, columns in (("dev", ("fname", "labels", "split")), ("eval", ("fname", "labels"))):
        for row in read_rows(truth / f"{name}.csv", columns):
            split = row.get("split", "eval")
            file = f"FSD50K.{name}_audio/{row['fname']}.wav"
            listing.add(file, row["labels"].split(","), FSD50K_PARTS.get(split, split))
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


def read_spcv2(folder: Path, audio: set[str]) -> Listing:
    """`validation_list.txt` and `testing_list.txt`: `word/file.wav` a line; the rest is for training."""
    listing = Listing()
    for part, name in (("valid", "validation_list.txt"), ("test", "testing_list.txt")):
        for file in read_lines(folder / name):
            listing.add(file, [file.split("/")[0]], part)
    listed = set(listing.files)
    for file in sorted(audio - listed):
        word, _, rest = file.partition("/")
        if rest and "/" not in rest and word != "_background_noise_":
            listing.add(file, [word], "train")
    return listing


def read_voxceleb1(folder: Path, audio: set[str]) -> Listing:
    """`iden_split.txt`: `1 id10001/VIDEO/00001.wav` a line; 1 train, 2 valid, 3 test; `id10001` the speaker.

    The files are found by their last three path parts, in `wav/`, `dev/wav/` and `test/wav/` alike.
    """
    by_end = {"/".join(file.split("/")[-3:]): file for file in audio}
    listing = Listing()
    for line in read_lines(folder / "iden_split.txt"):
        number, _, file = line.partition(" ")
        if number not in ("1", "2", "3") or file.count("/") != 2:
            raise UsageError(f"{folder / 'iden_split.txt'}: invalid line '{line}'.")
        part = {"1": "train", "2": "valid", "3": "test"}[number]
        listing.add(by_end.get(file, f"wav/{file}"), [file.split("/")[0]], part)
    return listing


def read_crema_d(folder: Path, audio: set[str]) -> Listing:
    """`AudioWAV/1001_DFA_ANG_XX.wav`: actor, sentence, emotion, level. There is no official split.

    Ours is by actor, so that none is in two splits: actors whose number ends in 0 or 1 are for testing (19),
    in 2 for validation (9), the others for training (63).
    """
    listing = Listing(classes=list(EMOTIONS.values()))
    for file in sorted(audio):
        actor, *rest = file.rsplit("/", 1)[-1].rsplit(".", 1)[0].split("_")
        if len(rest) == 3 and actor.isdecimal() and rest[1] in EMOTIONS:
            part = {"0": "test", "1": "test", "2": "valid"}.get(actor[-1], "train")
            listing.add(file, [EMOTIONS[rest[1]]], part)
    return listing


def read_fsdd(folder: Path, audio: set[str], field: int) -> Listing:
    """`recordings/7_jackson_32.wav`: digit, speaker, index. 0-4 test (official), 5-9 valid (ours)."""
    listing = Listing()
    for file, fields, index in _recordings(audio):
        part = "test" if index < 5 else "valid" if index < 10 else "train"
        listing.add(file, [fields[field]], part)
    return listing


def read_fsdd_by_speaker(folder: Path, audio: set[str]) -> Listing:
    """The same files; a fold is a speaker, by alphabet, of whom recordings 0-9 are tested (ours)."""
    found = _recordings(audio)
    speakers = sorted({fields[1] for _, fields, _ in found})
    listing = Listing(by="fold", tested=[index < 10 for _, _, index in found])
    for file, (digit, speaker, _), _ in found:
        listing.add(file, [digit], str(1 + speakers.index(speaker)))
    return listing


def _recordings(audio: set[str]) -> list[tuple[str, list[str], int]]:
    """Of FSDD: file, the fields of its name, and the last of them, the index."""
    named = ((file, file.rsplit("/", 1)[-1].rsplit(".", 1)[0].split("_")) for file in sorted(audio))
    return [(file, of, int(of[2])) for file, of in named if len(of) == 3 and of[2].isdecimal()]


def read_nsynth(folder: Path, audio: set[str], label: str, classes: list[str] | None) -> Listing:
    """`nsynth-{train,valid,test}/examples.json`: note -> its fields; the file is `audio/NOTE.wav`."""
    listing = Listing(classes=classes)
    for part in SPLITS:
        table = folder / f"nsynth-{part}" / "examples.json"
        try:
            with open_table(table) as stream:
                notes = json.load(stream)
            labels = {name: str(fields[label]) for name, fields in notes.items()}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UsageError(f"{table} is not NSynth's: {type(error).__name__} {error}") from error
        for name, value in labels.items():
            listing.add(f"nsynth-{part}/audio/{name}.wav", [value], part)
    return listing


def read_gtzan(folder: Path, audio: set[str]) -> Listing:
    """`{train,valid,test}_filtered.txt`: `blues/blues.00029.wav` a line, of 930 clips without known faults.

    The split is by C. Kereliuk et al. 2015; GTZAN itself has none. A clip's file, `.au` or `.wav`, is found
    by its name anywhere below the folder.
    """
    by_stem = {file.rsplit("/", 1)[-1].rsplit(".", 1)[0]: file for file in sorted(audio)}
    listing = Listing(classes=GENRES)
    for part in SPLITS:
        for line in read_lines(folder / f"{part}_filtered.txt"):
            stem = line.rsplit("/", 1)[-1].removesuffix(".wav").removesuffix(".au")
            listing.add(by_stem.get(stem, line), [stem.split(".")[0]], part)
    return listing
