"""`atst duplicates`: copies are told from other takes, however they were encoded, and aligned."""

import csv
import math

import numpy as np
import pytest
import soundfile
import soxr
from made import ABOUT, write

import atst
from atst import AudioError, Library, UsageError
from atst.library.alignment import Printer, match
from atst.library.duplicates import SAME
from atst.sound import audio

RATE = 16000
PRINT = Printer()


def rattle(seed, seconds=2.0):
    """Noise in bursts: the seed is the take."""
    rng = np.random.default_rng(seed)
    loudness = np.repeat(rng.uniform(0.1, 1, math.ceil(seconds * 20)), RATE // 20)[: round(seconds * RATE)]
    return (0.2 * loudness * rng.normal(0, 1, len(loudness))).clip(-1, 1).astype(np.float32)


def through(folder, samples, rate, name, **how):
    """What is left of the samples after a file."""
    soundfile.write(folder / name, samples, rate, **how)
    return audio.read(folder / name)


def copies(folder):
    whole = rattle(1)
    yield "quieter", whole * 10 ** (-3 / 20), 0.0
    yield "trimmed", whole[5000:28003], 5000 / RATE
    yield "mp3", through(folder, soxr.resample(whole, RATE, 44100), 44100, "a.mp3"), 0.0
    yield "vorbis", through(folder, whole, RATE, "a.ogg"), 0.0
    low = soxr.resample(whole, RATE, 8000)
    yield "8 kHz", through(folder, low, 8000, "a.wav"), 0.0


def test_copies_match_where_they_are_cut(tmp_path):
    original = PRINT(rattle(1))
    for kind, samples, offset in copies(tmp_path):
        found = match(original, PRINT(samples.astype(np.float32), closely=True))
        assert found.correlation > SAME, kind
        # lossy codecs may shift by some of their frame
        assert found.offset == pytest.approx(offset, abs=0.03 if kind in ("mp3", "vorbis") else 0.006), kind


def test_a_short_sound_before_a_long_silence_matches_its_copy():
    sound = np.pad(rattle(1, 0.3), (0, 5 * RATE))
    assert match(PRINT(sound), PRINT(sound * 0.7, closely=True)).correlation > 0.99


@pytest.mark.parametrize("other", [rattle(2), np.zeros(RATE, np.float32), rattle(1, 0.05), rattle(3, 0.02)])
def test_another_take_silence_and_snippets_do_not(other):
    assert match(PRINT(rattle(1)), PRINT(other, closely=True)).correlation < SAME
    assert match(PRINT(other), PRINT(rattle(1), closely=True)).correlation < SAME


@pytest.fixture
def sounds(tmp_path):
    """Takes 0 to 5, and of take 1 a quieter copy, of take 2 one that is cut."""
    for seed in range(6):
        soundfile.write(tmp_path / f"{seed}.wav", rattle(seed), RATE)
    soundfile.write(tmp_path / "quiet.flac", rattle(1) / 2, RATE)
    soundfile.write(tmp_path / "cut.wav", rattle(2)[4000:], RATE)
    atst.embed([tmp_path], model="logmel", out=tmp_path / "x.parquet", quiet=True)
    return tmp_path


def names(pairs):
    return {frozenset((pair.path.split("/")[-1], pair.other_path.split("/")[-1])) for pair in pairs}


EXPECTED = {frozenset(("1.wav", "quiet.flac")), frozenset(("2.wav", "cut.wav"))}


def test_pairs_on_the_screen_and_in_files(sounds, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")  # long names are folded
    pairs = atst.duplicates(sounds / "x.parquet")
    assert names(pairs) == EXPECTED
    out, err = capsys.readouterr()
    assert "quiet.flac" in out
    assert "2 pairs that are the same sound, in 8 rows" in err
    atst.duplicates(sounds / "x.parquet", out=sounds / "d.csv", quiet=True)
    with (sounds / "d.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["path"] for row in rows] == [pair.path for pair in pairs]
    cut = next(row for row in rows if "cut.wav" in row["path"] + row["other_path"])
    assert abs(float(cut["offset"])) == pytest.approx(0.25, abs=0.003)
    atst.duplicates(sounds / "x.parquet", out=sounds / "d.html", quiet=True)
    assert (sounds / "d.html").read_text().count("data:audio/flac") == 4


def test_recordings_that_cannot_be_opened_are_listed(sounds, capsys):
    (sounds / "0.wav").unlink()
    (sounds / "3.wav").write_bytes(b"no sound at all")
    with pytest.raises(AudioError, match="2 skipped"):
        atst.duplicates(sounds / "x.parquet", out=sounds / "d.csv")
    listed = (sounds / "d.csv.errors.csv").read_text()
    assert "0.wav,not on this disk" in listed
    assert "3.wav,not audio" in listed
    with (sounds / "d.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 2


def test_windows_of_one_recording_that_overlap_are_no_pair(sounds):
    path = str(sounds / "1.wav")
    vectors = np.random.default_rng(0).normal(size=(3, 4))
    library = write(sounds / "y.parquet", vectors, [path] * 2 + [str(sounds / "quiet.flac")])
    found = {pair.rows for pair in atst.duplicates(library, quiet=True)}
    assert found == {(0, 2), (1, 2)}


def test_a_library_of_frames_and_one_without_any_pair(tmp_path, sounds, capsys):
    write(tmp_path / "f.parquet", np.ones((3, 2)), about=ABOUT | {"frames": True})
    with pytest.raises(UsageError, match="patches of 40 ms; embed without --frames"):
        atst.duplicates(tmp_path / "f.parquet")
    write(tmp_path / "one.parquet", np.ones((1, 2)), [str(sounds / "1.wav")])
    assert atst.duplicates(tmp_path / "one.parquet", out=tmp_path / "d.csv") == []
    assert (tmp_path / "d.csv").read_text().startswith("path,start,end,other_path")
    assert len(Library(tmp_path / "one.parquet")) == 1
