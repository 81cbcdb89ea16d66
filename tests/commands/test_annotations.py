"""`atst annotations`: what it writes, says and exits with."""

import csv

import numpy as np
import pytest
import soundfile

import atst
from atst import cli

HEAD = "Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)\tLow Freq (Hz)\tHigh Freq (Hz)\tSpecies\n"


@pytest.fixture
def field(tmp_path, monkeypatch):
    """Recordings of 10 s, a Raven table and a label track beside them."""
    monkeypatch.chdir(tmp_path)
    for name in "abcd":
        soundfile.write(tmp_path / f"{name}.wav", np.zeros(40000, np.int16), 4000)
    row = "1\tSpectrogram 1\t1\t1.0\t2.5\t500.0\t900.0\towl\n"
    (tmp_path / "a.Table.1.selections.txt").write_text(HEAD + row)
    (tmp_path / "b.txt").write_text("1.5\t2.0\tcat\n4.0\t5.0\tCat\n8\t9\t\n")
    (tmp_path / "c.selections.txt").write_text(HEAD)
    return tmp_path


@pytest.fixture
def run(capsys):
    def run(*arguments):
        with pytest.raises(SystemExit) as exit:
            cli.main(["annotations", *map(str, arguments)])
        return exit.value.code, *capsys.readouterr()

    return run


def rows(path):
    with path.open(newline="") as stream:
        return list(csv.reader(stream))


def test_a_row_an_event_and_a_summary(field, run):
    code, out, err = run(field, "--out", "meta.csv")
    assert (code, err) == (0, "")
    first = out.splitlines()[0]
    assert first == "3 files read, 0 refused; 3 recordings, 3 events, 3 labels"
    assert "events without label, left out: 1" in out
    assert "labels differ by case or blanks alone: 'Cat', 'cat'" in out
    header, *found = rows(field / "meta.csv")
    assert ",".join(header) == "path,start,end,label,low,high,channel,confidence,source,line"
    source = str(field / "a.Table.1.selections.txt")
    assert found[0] == ["a.wav", "1.0", "2.5", "owl", "500.0", "900.0", "1", "", source, "2"]
    assert [row[:4] for row in found[1:]] == [["b.wav", "1.5", "2.0", "cat"], ["b.wav", "4.0", "5.0", "Cat"]]
    assert rows(field / "meta.csv.errors.csv")[1][:2] == [str(field / "b.txt"), "3"]


def test_a_refused_file_is_listed_and_the_rest_is_there(field, run):
    (field / "d.txt").write_text("1\t2\towl\nnow\t4\tcat\n")
    code, out, err = run(field, "--out", "meta.csv")
    assert code == 1
    assert "refused, not a number: 1" in out
    assert err.splitlines()[0] == "atst: error: 1 of 4 files refused:"
    assert "d.txt, line 2: begin 'now' is not a number." in err
    assert len(rows(field / "meta.csv")) == 4
    assert rows(field / "meta.csv.errors.csv")[1][2] == "not a number"


def test_a_dry_run_writes_nothing(field, run):
    before = sorted(field.iterdir())
    code, out, _ = run(field, "--dry-run", "--window", 3)
    assert code == 0
    assert "3 events" in out
    assert sorted(field.iterdir()) == before


def test_windows_background_and_splits_by_recording(field, run):
    (field / "d.txt").write_text("1\t2\towl\n")
    options = ("--out", "w.csv", "--window", 2.5, "--background", "none", "--split-by-recording")
    code, out, _ = run(field, *options)
    assert code == 0
    assert "left out with an event without label" in out
    header, *found = rows(field / "w.csv")
    assert header == ["path", "start", "end", "label", "split"]
    assert found[:2] == [
        ["a.wav", "0.0", "2.5", "owl", found[0][4]],
        ["a.wav", "2.5", "5.0", "none", found[0][4]],
    ]
    assert len({row[0] for row in found}) == len({(row[0], row[4]) for row in found}) == 4
    assert {row[4] for row in found} == {"train", "valid", "test"}
    assert [row[3] for row in found if row[0] == "c.wav"] == ["none"] * 4


@pytest.mark.parametrize("program", ["raven", "audacity"])
def test_events_become_tables_and_events_again(field, run, program):
    assert run(field / "a.Table.1.selections.txt", field / "b.txt", "--out", "meta.csv")[0] == 0
    code, out, err = run("meta.csv", "--to", program, "--out", "tables")
    assert not err
    assert (code, out.splitlines()[-1]) == (0, f"tables: 2 tables for {program.capitalize()}")
    ending = ".Table.1.selections.txt" if program == "raven" else ".txt"
    assert sorted(path.name for path in (field / "tables").iterdir()) == [f"a{ending}", f"b{ending}"]
    assert run("tables", "--audio", field, "--out", "again.csv")[0] == 0
    keep = 6  # path to high
    assert [row[:keep] for row in rows(field / "again.csv")] == [
        row[:keep] for row in rows(field / "meta.csv")
    ]


def test_the_function_does_the_same(field, capsys):
    atst.annotations([field], out=field / "meta.csv", one_class="call")
    assert {row[3] for row in rows(field / "meta.csv")[1:]} == {"call"}
    (field / "c.Table.1.selections.txt").write_text(HEAD + "1\t\t1\t20\t21\t0\t1\towl\n")
    with pytest.raises(atst.AtstError, match=r"refused:\n.*c\.Table"):
        atst.annotations(field, out=field / "meta.csv", one_class="call")


@pytest.mark.parametrize(("options", "words"), [
    ((), "--out"),
    (("--out", "m.csv", "--label-column", "x", "--one-class", "y"), "--label-column and --one-class"),
    (("--out", "m.csv", "--one-class", " "), "--one-class"),
    (("--out", "m.csv", "--hop", "1"), "--hop needs --window"),
    (("--out", "m.csv", "--background", "x"), "--background needs --window"),
    (("--out", "m.csv", "--window", "0"), "--window"),
    (("--out", "m.csv", "--window", "3", "--hop", "4"), "--hop must be"),
    (("--out", "m.csv", "--window", "3", "--to", "raven"), "--to"),
    (("--out", "m.csv", "--window", "3", "--background", "owl"), "also the label"),
    (("--out", "m.csv", "--audio", "nowhere"), "nowhere: no such file"),
    (("--out", "m.csv", "--order", "nowhere.txt"), "nowhere.txt"),
    (("--out", "m.csv", "--split-by-recording"), "2 recordings"),
    (("--out", "m.csv", "--layer", "values"), "values"),
])  # fmt: skip
def test_wrong_usage_is_one_line(field, run, options, words):
    code, _, err = run(field, *options)
    assert code == 2
    assert words in err
    assert not (field / "m.csv").exists()


def test_a_folder_without_annotations_is_an_error(tmp_path, run):
    code, _, err = run(tmp_path, "--out", tmp_path / "m.csv")
    assert (code, "no annotation files" in err) == (1, True)


def test_out_of_the_wrong_kind_is_told_at_once(field, run):
    (field / "file").write_text("kept")
    code, _, err = run(field / "b.txt", "--to", "raven", "--out", field / "file")
    assert code == 2
    assert f"--out {field / 'file'}: is a file; with --to it is the folder for the tables." in err
    code, _, err = run(field / "b.txt", "--out", field)
    assert code == 2
    assert f"--out {field} is a folder" in err
    assert (field / "file").read_text() == "kept"
