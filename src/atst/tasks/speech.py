"""Data sets of speech, in their publishers' layouts."""

from dataclasses import replace
from functools import partial
from pathlib import Path

from atst.errors import UsageError
from atst.tasks.listing import Listing, read_lines
from atst.tasks.spec import Archive, DatasetSpec

EMOTIONS = {
    "ANG": "anger",
    "DIS": "disgust",
    "FEA": "fear",
    "HAP": "happy",
    "NEU": "neutral",
    "SAD": "sad",
}


def read_spcv2(folder: Path, audio: set[str]) -> Listing:
    """`validation_list.txt` and `testing_list.txt`: `word/file.wav` a line; the rest is for training."""
    listing = Listing([], [], [])
    for part, name in (("valid", "validation_list.txt"), ("test", "testing_list.txt")):
        for file in read_lines(folder / name):
            _add(listing, file, file.split("/")[0], part)
    listed = set(listing.files)
    for file in sorted(audio - listed):
        word, _, rest = file.partition("/")
        if rest and "/" not in rest and word != "_background_noise_":
            _add(listing, file, word, "train")
    return listing


def read_voxceleb1(folder: Path, audio: set[str]) -> Listing:
    """`iden_split.txt`: `1 id10001/VIDEO/00001.wav` a line; 1 train, 2 valid, 3 test; `id10001` the speaker.

    The files are found by their last three path parts, in `wav/`, `dev/wav/` and `test/wav/` alike.
    """
    by_end = {"/".join(file.split("/")[-3:]): file for file in audio}
    listing = Listing([], [], [])
    for line in read_lines(folder / "iden_split.txt"):
        number, _, file = line.partition(" ")
        if number not in ("1", "2", "3") or file.count("/") != 2:
            raise UsageError(f"{folder / 'iden_split.txt'}: invalid line '{line}'.")
        part = {"1": "train", "2": "valid", "3": "test"}[number]
        _add(listing, by_end.get(file, f"wav/{file}"), file.split("/")[0], part)
    return listing


def read_crema_d(folder: Path, audio: set[str]) -> Listing:
    """`AudioWAV/1001_DFA_ANG_XX.wav`: actor, sentence, emotion, level. There is no official split.

    Ours is by actor, so that none is in two splits: actors whose number ends in 0 or 1 are for testing (19),
    in 2 for validation (9), the others for training (63).
    """
    listing = Listing([], [], [], classes=list(EMOTIONS.values()))
    for file in sorted(audio):
        actor, *rest = file.rsplit("/", 1)[-1].rsplit(".", 1)[0].split("_")
        if len(rest) == 3 and actor.isdecimal() and rest[1] in EMOTIONS:
            part = {"0": "test", "1": "test", "2": "valid"}.get(actor[-1], "train")
            _add(listing, file, EMOTIONS[rest[1]], part)
    return listing


def read_fsdd(folder: Path, audio: set[str], field: int) -> Listing:
    """`recordings/7_jackson_32.wav`: digit, speaker, index. 0-4 test (official), 5-9 valid (ours)."""
    listing = Listing([], [], [])
    for file, fields, index in _recordings(audio):
        part = "test" if index < 5 else "valid" if index < 10 else "train"
        _add(listing, file, fields[field], part)
    return listing


def read_fsdd_by_speaker(folder: Path, audio: set[str]) -> Listing:
    """The same files; a fold is a speaker, by alphabet, of whom recordings 0-9 are tested (ours)."""
    found = _recordings(audio)
    speakers = sorted({fields[1] for _, fields, _ in found})
    listing = Listing([], [], [], "fold", tested=[index < 10 for _, _, index in found])
    for file, (digit, speaker, _), _ in found:
        _add(listing, file, digit, str(1 + speakers.index(speaker)))
    return listing


def _recordings(audio: set[str]) -> list[tuple[str, list[str], int]]:
    """Of FSDD: file, the fields of its name, and the last of them, the index."""
    named = ((file, file.rsplit("/", 1)[-1].rsplit(".", 1)[0].split("_")) for file in sorted(audio))
    return [(file, fields, int(fields[2])) for file, fields in named if _is_recording(fields)]


def _is_recording(fields: list[str]) -> bool:
    return len(fields) == 3 and fields[2].isdecimal()


def _add(listing: Listing, file: str, label: str, part: str) -> None:
    listing.files.append(file)
    listing.labels.append([label])
    listing.parts.append(part)


FSDD = DatasetSpec(
    "10 spoken digits",
    "fsdd",
    "Free Spoken Digit Dataset, https://github.com/Jakobovski/free-spoken-digit-dataset",
    "CC BY-SA 4.0",
    "--download, or https://github.com/Jakobovski/free-spoken-digit-dataset",
    {"train": 2400, "valid": 300, "test": 300},
    10,
    "8 kHz",
    read=partial(read_fsdd, field=0),
    page="https://github.com/Jakobovski/free-spoken-digit-dataset#usage",
    needs=("recordings",),
    audio=("recordings",),
    archives=(Archive("https://github.com/Jakobovski/free-spoken-digit-dataset/archive/master.zip"),),
)

SPEECH: dict[str, DatasetSpec] = {
    "spcv2": DatasetSpec(
        "35 spoken words",
        "spcv2",
        "Speech Commands v0.02, P. Warden 2018, https://arxiv.org/abs/1804.03209",
        "CC BY 4.0",
        "--download, or https://storage.googleapis.com/download.tensorflow.org/data/speech_commands_v0.02.tar.gz",
        {"train": 84843, "valid": 9981, "test": 11005},
        35,
        read=read_spcv2,
        page="https://arxiv.org/abs/1804.03209 and the archive's README.md",
        needs=("testing_list.txt", "validation_list.txt"),
        spare="_background_noise_",
        archives=(
            Archive(
                "https://storage.googleapis.com/download.tensorflow.org/data/speech_commands_v0.02.tar.gz",
                "sha256:af14739ee7dc311471de98f5f9d2c9191b18aedfe957f4a6ff791c709868ff58",
                "torchaudio",
            ),
        ),
        learning_rates=(2e-3,),
    ),
    "voxceleb1": DatasetSpec(
        "1251 speakers",
        "voxceleb1",
        "VoxCeleb1, A. Nagrani et al. 2017, https://www.robots.ox.ac.uk/~vgg/data/voxceleb/vox1.html",
        "lists CC BY 4.0; each video its own",
        "iden_split.txt with --download; the audio from https://www.robots.ox.ac.uk/~vgg/data/voxceleb/, "
        "on request",
        {"train": 138361, "valid": 6904, "test": 8251},
        1251,
        read=read_voxceleb1,
        page="https://www.robots.ox.ac.uk/~vgg/data/voxceleb/vox1.html",
        needs=("iden_split.txt",),
        archives=(Archive("https://www.robots.ox.ac.uk/~vgg/data/voxceleb/meta/iden_split.txt"),),
        learning_rates=(0.02, 0.05, 0.1),
    ),
    "crema-d": DatasetSpec(
        "6 acted emotions, split by actor (ours)",
        "crema-d",
        "CREMA-D, H. Cao et al. 2014, https://github.com/CheyneyComputerScience/CREMA-D",
        "ODbL 1.0",
        "git lfs clone https://github.com/CheyneyComputerScience/CREMA-D.git (a zip holds pointers only)",
        {"all": 7442},
        6,
        read=read_crema_d,
        page="https://cheyneycomputerscience.github.io/CREMA-D",
        needs=("AudioWAV",),
        audio=("AudioWAV",),
    ),
    "fsdd": FSDD,
    "fsdd-speaker": replace(
        FSDD,
        about="6 speakers of the spoken digits",
        classes=6,
        read=partial(read_fsdd, field=1),
        table="meta_speaker.csv",
    ),
    "fsdd-by-speaker": replace(
        FSDD,
        about="10 spoken digits of speakers not trained on",
        clips={str(fold): 500 for fold in range(1, 7)},
        read=read_fsdd_by_speaker,
        needs=(("recordings", "audio"),),  # the latter beside a prepared table of the other two
        audio=("recordings", "audio"),
        table="meta_by_speaker.csv",
    ),
}
