"""Miniatures of the data sets: official file names, headers and rows, a few tones instead of recordings.

TREES: task -> what builds it in a folder. Each has two classes or more, told apart by pitch, in every part.
"""

import json
from collections.abc import Callable
from itertools import product
from pathlib import Path

import numpy as np
import soundfile

EACH = 4  # clips of a class in a part

ESC_HEADER = "filename,fold,target,category,esc10,src_file,take\n"
US8K_HEADER = "slice_file_name,fsID,start,end,salience,fold,classID,class\n"
AUDIOSET_HEADER = """# Segments csv created Sun Mar  5 10:54:31 2017
# num_ytids=8, num_segs=8, num_unique_labels=2, num_positive_labels=8
# YTID, start_seconds, end_seconds, positive_labels
"""
AUDIOSET_CLASSES = """index,mid,display_name
0,/m/09x0r,"Speech"
1,/m/05zppz,"Male speech, man speaking"
2,/m/03v3yw,"Keys jangling"
"""


def tone(path: Path, kind: int, take: int) -> None:
    """A short WAV or AU of 16 kHz whose pitch tells the class."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(100 * kind + take)
    wave = 0.3 * np.sin(np.arange(4000) * (0.2 + 0.5 * kind)) + 0.02 * rng.standard_normal(4000)
    soundfile.write(path, wave, 16000)


def esc(folder: Path) -> None:
    rows = []
    for fold, (kind, name, esc10), take in product(
        range(1, 6), ((0, "dog", True), (1, "rooster", True), (2, "pig", False)), range(EACH)
    ):
        file = f"{fold}-{100032 + take}-{'ABCD'[take]}-{kind}.wav"
        rows.append(f"{file},{fold},{kind},{name},{esc10},{100032 + take},{'ABCD'[take]}\n")
        tone(folder / "audio" / file, kind, take)
    (folder / "meta").mkdir()
    (folder / "meta" / "esc50.csv").write_text(ESC_HEADER + "".join(rows))


def us8k(folder: Path) -> None:
    rows = []
    for fold, (kind, name), take in product(range(1, 11), ((3, "dog_bark"), (8, "siren")), range(2)):
        file = f"{100032 + fold}-{kind}-0-{take}.wav"
        rows.append(f"{file},{100032 + fold},0.0,0.317551,1,{fold},{kind},{name}\n")
        tone(folder / "audio" / f"fold{fold}" / file, kind // 4, take)
    (folder / "metadata").mkdir()
    (folder / "metadata" / "UrbanSound8K.csv").write_text(US8K_HEADER + "".join(rows))


def audioset(folder: Path) -> None:
    """Clips named in the ways that downloaders name them."""
    names = ("{}.wav", "Y{}.wav", "{}_30.000.wav", "{}_30.000_40.000.wav", "{}_30000.flac")
    names += ("{}_30.0-40.0.wav",)
    for number, part in enumerate(("balanced_train", "unbalanced_train", "eval")):
        rows = []
        for kind, take in product(range(2), range(EACH)):
            youtube_id = f"-{number}{kind}_{take}WZT-miFs"[:11].ljust(11, "_")
            mids = "/m/09x0r,/m/05zppz" if kind else "/m/03v3yw"
            rows.append(f'{youtube_id}, 30.000, 40.000, "{mids}"\n')
            tone(folder / part / names[(kind + take + 4 * number) % 6].format(youtube_id), kind, take)
        (folder / f"{part}_segments.csv").write_text(AUDIOSET_HEADER + "".join(rows))
    (folder / "class_labels_indices.csv").write_text(AUDIOSET_CLASSES)


def fsd50k(folder: Path) -> None:
    truth = folder / "FSD50K.ground_truth"
    truth.mkdir()
    (truth / "vocabulary.csv").write_text(
        "0,Accelerating_and_revving_and_vroom,/m/07q2z82\n1,Bark,/m/05tny_\n"
    )
    dev, test = "fname,labels,mids,split\n", "fname,labels,mids\n"
    for part, kind, take in product(("train", "val", "eval"), range(2), range(EACH)):
        number = 64760 + {"train": 0, "val": 100, "eval": 200}[part] + 10 * kind + take
        both = take == 0
        labels = "Accelerating_and_revving_and_vroom,Bark" if both else ("Bark" if kind else "")
        labels = f'"{labels}"' if both else labels or "Accelerating_and_revving_and_vroom"
        mids = '"/m/07q2z82,/m/05tny_"' if both else ("/m/05tny_" if kind else "/m/07q2z82")
        tone(folder / f"FSD50K.{'eval' if part == 'eval' else 'dev'}_audio" / f"{number}.wav", kind, take)
        if part == "eval":
            test += f"{number},{labels},{mids}\n"
        else:
            dev += f"{number},{labels},{mids},{part}\n"
    (truth / "dev.csv").write_text(dev)
    (truth / "eval.csv").write_text(test)


def spcv2(folder: Path) -> None:
    lists: dict[str, list[str]] = {"testing_list.txt": [], "validation_list.txt": [], "": []}
    for (number, name), (kind, word), take in product(
        enumerate(lists), enumerate(("backward", "bed")), range(EACH)
    ):
        file = f"{word}/0165e0e{number}_nohash_{take}.wav"
        lists[name].append(file + "\n")
        tone(folder / file, kind, take)
    for name in ("testing_list.txt", "validation_list.txt"):
        (folder / name).write_text("".join(lists[name]))
    tone(folder / "_background_noise_" / "white_noise.wav", 0, 9)
    (folder / "README.md").write_text("# Speech Commands Data Set v0.02\n")


def voxceleb1(folder: Path) -> None:
    """As the archives unpack side by side: the test archive holds other speakers, not the test utterances."""
    rows = []
    for part, kind, take in product((1, 2, 3), range(2), range(EACH)):
        file = f"id1000{kind + 1}/1zcIwhmdeo{part}/{take + 1:05}.wav"
        rows.append(f"{part} {file}\n")
        tone(folder / ("dev/wav" if kind else "test/wav") / file, kind, take)
    (folder / "iden_split.txt").write_text("".join(rows))


def crema_d(folder: Path) -> None:
    for actor, (kind, emotion), take in product(
        (1001, 1002, 1003, 1010, 1012, 1014), enumerate(("ANG", "SAD")), range(2)
    ):
        tone(folder / "AudioWAV" / f"{actor}_{('IEO', 'DFA')[take]}_{emotion}_XX.wav", kind, take)


def fsdd(folder: Path) -> None:
    for digit, (number, speaker), index in product(
        (0, 7), enumerate(("george", "jackson")), (0, 4, 5, 9, 10, 32)
    ):
        tone(folder / "recordings" / f"{digit}_{speaker}_{index}.wav", digit // 7 + 2 * number, index)


def nsynth(folder: Path) -> None:
    for part in ("train", "valid", "test"):
        notes = {}
        for (kind, family), take in product(((0, "bass"), (4, "keyboard")), range(EACH)):
            name = f"{family}_acoustic_{take:03}-0{60 + kind}-075"
            notes[name] = {
                "note_str": name,
                "instrument_family": kind,
                "instrument_family_str": family,
                "pitch": 60 + kind,
                "sample_rate": 16000,
                "qualities_str": ["dark"],
            }
            tone(folder / f"nsynth-{part}" / "audio" / f"{name}.wav", kind // 4, take)
        (folder / f"nsynth-{part}" / "examples.json").write_text(json.dumps(notes))


def gtzan(folder: Path) -> None:
    for number, part in enumerate(("train", "valid", "test")):
        rows = []
        for (kind, genre), take in product(enumerate(("blues", "rock")), range(EACH)):
            name = f"{genre}.{10 * number + take:05}"
            rows.append(f"{genre}/{name}.wav\n")  # the lists say .wav, the archive has .au
            tone(folder / "genres" / genre / f"{name}.au", kind, take)
        (folder / f"{part}_filtered.txt").write_text("".join(rows))
    tone(folder / "genres" / "blues" / "blues.00099.au", 0, 99)  # one of the faulty clips


TREES: dict[str, Callable[[Path], None]] = {
    "audioset20k": audioset,
    "audioset2m": audioset,
    "us8k": us8k,
    "esc50": esc,
    "esc10": esc,
    "fsd50k": fsd50k,
    "spcv2": spcv2,
    "voxceleb1": voxceleb1,
    "crema-d": crema_d,
    "fsdd": fsdd,
    "fsdd-speaker": fsdd,
    "fsdd-by-speaker": fsdd,
    "nsynth": nsynth,
    "nsynth-pitch": nsynth,
    "gtzan": gtzan,
}
