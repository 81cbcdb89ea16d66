import dataclasses

import pytest
from trees import TREES

from atst import cli
from atst.tasks import DATASETS
from atst.tasks.check import check_task


@pytest.fixture
def run(capsys):
    def run(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as exit:
            cli.main(["tasks", *map(str, arguments)])
        return exit.value.code, *capsys.readouterr()

    return run


@pytest.fixture
def esc50(tmp_path, monkeypatch):
    """A miniature in tmp_path/esc50, expected to be as small as it is."""
    (tmp_path / "esc50").mkdir()
    TREES["esc50"](tmp_path / "esc50")
    clips = check_task("esc50", tmp_path / "esc50").found
    monkeypatch.setitem(DATASETS, "esc50", dataclasses.replace(DATASETS["esc50"], clips=clips, classes=3))
    return tmp_path / "esc50"


def test_the_list_has_a_line_a_task_with_its_name_first(run, esc50, monkeypatch):
    monkeypatch.setenv("ATST_DATA", str(esc50.parent))
    monkeypatch.setenv("COLUMNS", "40")
    code, out, err = run()
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert [line.split()[0] for line in lines] == [*DATASETS, "synthetic"]
    found = {line.split()[0]: line for line in lines}
    assert found["esc50"].endswith(str(esc50))
    assert found["us8k"].endswith("  -")
    assert "8732 clips" in found["us8k"]
    assert "CC BY-NC 3.0" in found["us8k"]
    assert "mAP" in found["audioset20k"]


def test_on_a_terminal_it_is_a_table(run, monkeypatch):
    monkeypatch.delenv("ATST_DATA", raising=False)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "200")
    code, out, _ = run()
    assert code == 0
    assert "┃" in out
    assert "voxceleb1" in out


def test_a_complete_download(run, esc50):
    code, out, err = run("check", "esc50", "--data", esc50)
    assert (code, err) == (0, "")
    assert "fold 1: 12 of 12 clips\n" in out
    assert "classes: 3 of 3\n" in out
    assert "labels without a file: 0\n" in out
    assert out.endswith("esc50 is complete.\n")


def test_a_clip_too_few_and_one_too_many(run, esc50):
    (esc50 / "audio" / "2-100032-A-0.wav").rename(esc50 / "audio" / "9-999999-A-9.wav")
    code, out, err = run("check", "esc50", "--data", esc50)
    assert code == 1
    assert "fold 2: 11 of 12 clips\n" in out
    assert "labels without a file: 1: audio/2-100032-A-0.wav\n" in out
    assert "files without a label: 1: audio/9-999999-A-9.wav\n" in out
    assert err.startswith("atst: error: esc50: 1 clip is missing. Files: --download, or https://")
    assert len(err.splitlines()) == 1


def test_nothing_there(run, tmp_path, monkeypatch):
    code, _, err = run("check", "voxceleb1", "--data", tmp_path)
    assert code == 1
    assert "no iden_split.txt" in err
    assert "robots.ox.ac.uk" in err
    assert run("check", "us8k", "--data", tmp_path / "none")[0] == 2
    monkeypatch.delenv("ATST_DATA", raising=False)
    assert run("check", "us8k")[0] == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["check", "esc51"], "unknown task 'esc51'. Did you mean 'esc50'?"),
        (["check"], "atst tasks check needs the NAME of a task: audioset20k, "),
        (["chekc"], "chekc"),
        (["--download"], "--data and --download need a task"),
        (["check", "gmnotes", "--download", "--data", "x"], "no public server offers it"),
    ],
)
def test_wrong_usage(run, arguments, message):
    code, _, err = run(*arguments)
    assert code == 2
    assert message in err


def test_what_is_complete_is_not_downloaded_again(run, esc50):
    assert run("check", "esc50", "--data", esc50, "--download")[0] == 0
    assert not (esc50 / "archives").exists()


def test_a_download_then_a_check(run, tmp_path, monkeypatch):
    """The fetching itself is tested with a server in tests/tasks/test_download.py."""
    asked = []

    def fetch(archives, folder):
        asked.append([archive.url for archive in archives])
        folder.mkdir()
        TREES["us8k"](folder)
        return ["a remark"]

    monkeypatch.setattr("atst.commands.tasks.fetch", fetch)
    monkeypatch.setenv("ATST_DATA", str(tmp_path))
    code, out, err = run("check", "us8k", "--download")
    assert asked == [["https://zenodo.org/records/1203745/files/UrbanSound8K.tar.gz"]]
    assert out.startswith("a remark\n")
    assert "all: 40 of 8732 clips\n" in out
    assert code == 1
    assert "8692 clips are missing" in err
