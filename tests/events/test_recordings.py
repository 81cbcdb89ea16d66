"""Which recording a table or a row means."""

import csv
import os

import pytest

from atst.events.collect import collect
from atst.events.event import Options
from atst.events.recordings import Recordings
from atst.events.summary import summary, write_errors

HEAD = "Begin Time (s)\tEnd Time (s)\tSpecies\n"


@pytest.mark.parametrize("name", [
    *("a.Table.1.selections.txt", "a.Table.12.selections.txt", "a.Table01.txt", "a.selections.txt"),
    *("a.BirdNET.selection.table.txt", "a.BirdNET.results.csv", "a.BirdNET.results.r.csv", "a_labels.txt"),
    *("a.BirdNET.results.kaleidoscope.csv", "a.audacity.txt", "a.txt", "a.wav.txt", "a.WAV.txt", "a.csv"),
])  # fmt: skip
def test_a_table_is_named_after_its_recording(read, name):
    assert read(HEAD + "1\t2\towl\n", name=name) == [("a.wav", 1.0, 2.0, "owl")]


def test_a_stem_may_look_like_a_full_name(read):
    assert read(HEAD + "1\t2\towl\n", name="x.wav.wav.txt")[0][0] == "x.wav.wav"


@pytest.mark.parametrize(("column", "cell"), [
    ("Begin File", "b.wav"),
    ("Begin Path", "D:\\field\\2024\\b.wav"),
    ("Begin Path", "/Users/me/b.wav"),
    *((column, "b.wav") for column in ("File", "Filename", "File Name", "IN FILE", "filepath")),
    ("File", "C:/Users/me/field\\b.WAV"),
    ("File Name", "b"),
])  # fmt: skip
def test_a_row_may_name_it(read, column, cell):
    text = f"Begin Time (s)\tEnd Time (s)\tSpecies\t{column}\n1\t2\towl\t{cell}\n"
    assert read(text, name="z.txt") == [("b.WAV", 1.0, 2.0, "owl")]


def test_begin_file_comes_before_begin_path(read):
    text = "Begin Time (s)\tEnd Time (s)\tSpecies\tBegin Path\tBegin File\n1\t2\towl\tx/a.wav\tb.wav\n"
    assert read(text)[0][0] == "b.WAV"


@pytest.mark.parametrize("name", ["A.txt", "d.txt", "a.mp3.txt"])
def test_no_such_recording_is_refused(refused, name):
    refused(HEAD + "1\t2\towl\n", "no recording matches", "--audio", name=name)


def test_a_row_of_no_such_recording_is_refused_with_those_that_are_alike(refused):
    text = "Begin Time (s)\tEnd Time (s)\tSpecies\tBegin File\n1\t2\towl\taa.wav\n"
    assert refused(text, "no recording matches", "a.wav").line == 2


def test_two_recordings_of_one_name(audio, tmp_path):
    for site in ("north", "south"):
        (tmp_path / site).mkdir()
        (tmp_path / site / "a.wav").write_bytes((audio / "a.wav").read_bytes())
    table = tmp_path / "south" / "a.txt"
    table.write_text(HEAD + "1\t2\towl\n")
    found = collect([table], Options(), Recordings([tmp_path], beside_first=True))
    assert [event.path for event in found.events] == [tmp_path / "south" / "a.wav"]
    found = collect([table], Options(), Recordings([tmp_path], beside_first=False))
    assert found.refused[0][1].reason == "several recordings match"
    assert "north" in str(found.refused[0][1])


def test_a_recording_that_cannot_be_read_is_a_refusal(audio, tmp_path):
    (tmp_path / "broken.wav").write_bytes(b"RIFF")
    table = tmp_path / "broken.txt"
    table.write_text(HEAD + "1\t2\towl\n")
    found = collect([table], Options(), Recordings([tmp_path], beside_first=True))
    assert found.refused[0][1].reason == "recording not readable"


def test_a_folder_is_searched_for_annotation_files(audio, tmp_path):
    (tmp_path / "a.txt").write_text(HEAD + "1\t2\towl\n")
    (tmp_path / "readme.txt").write_text("Hello.\n")
    (tmp_path / "numbers.csv").write_text("1,2,3\n")
    (tmp_path / "meta.csv").write_text("path,start,end,label\na.wav,1,2,owl\n")
    (tmp_path / ".hidden.txt").write_text(HEAD)
    found = collect([tmp_path], Options(), Recordings([audio], beside_first=False))
    assert (found.read, len(found.events), len(found.refused)) == (1, 1, 0)
    assert sorted(path.name for path in found.other) == ["meta.csv", "numbers.csv", "readme.txt"]


def test_one_event_in_two_files_counts_once(audio, tmp_path):
    (tmp_path / "a.Table.1.selections.txt").write_text(HEAD + "1\t2\towl\n3\t4\towl\n")
    (tmp_path / "a.txt").write_text("1.0\t2.0\towl\n")
    found = collect([tmp_path], Options(), Recordings([audio], beside_first=False))
    assert (len(found.events), found.counts["doubled"]) == (2, 1)


def test_what_is_no_regular_file_is_not_opened(audio, tmp_path):
    os.mkfifo(tmp_path / "a.txt")  # to open it would wait for ever
    found = collect([tmp_path], Options(), Recordings([audio], beside_first=False))
    path, refusal = found.refused[0]
    assert (path, refusal.reason, str(refusal)) == (tmp_path / "a.txt", "not read", "is a pipe, not a file")
    found = collect([tmp_path / "a.txt"], Options(), Recordings([audio], beside_first=False))
    assert found.refused[0][1].reason == "cannot be opened"


def test_links_are_followed_and_each_folder_counts_once(audio, tmp_path):
    field, disk = tmp_path / "field", tmp_path / "disk"
    field.mkdir()
    disk.mkdir()
    (disk / "a.wav").symlink_to(audio / "a.wav")
    (disk / "a.txt").write_text(HEAD + "1\t2\towl\n")
    (field / "disk").symlink_to(disk)
    (field / "again").symlink_to(disk)
    (disk / "loop").symlink_to(field)
    found = collect([field], Options(), Recordings([field], beside_first=True))
    assert (found.read, len(found.events), found.refused) == (1, 1, [])


def test_folders_that_cannot_be_read_are_listed(audio, tmp_path, monkeypatch):
    (tmp_path / "field" / "site").mkdir(parents=True)
    (tmp_path / "sound" / "disk").mkdir(parents=True)
    (tmp_path / "sound" / "a.wav").symlink_to(audio / "a.wav")
    (tmp_path / "field" / "a.txt").write_text(HEAD + "1\t2\towl\n")
    scandir = os.scandir

    def locked(path):
        if str(path).endswith(("/site", "/disk")):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", locked)
    found = collect(
        [tmp_path / "field"],
        Options(),
        Recordings([tmp_path / "sound", tmp_path / "field"], beside_first=False),
    )
    assert [path for path, _ in found.refused] == [tmp_path / "field" / "site"]
    assert found.unsearched == [
        (str(tmp_path / "sound" / "disk"), "folder cannot be read: Permission denied")
    ]
    assert str(tmp_path / "sound" / "disk") in "\n".join(summary(found))
    write_errors(found, tmp_path / "meta.csv")
    with (tmp_path / "meta.csv.errors.csv").open() as stream:
        listed = {row["path"]: row["text"] for row in csv.DictReader(stream)}
    why = "folder cannot be read: Permission denied"
    assert listed == {str(tmp_path / "field" / "site"): why, str(tmp_path / "sound" / "disk"): why}
