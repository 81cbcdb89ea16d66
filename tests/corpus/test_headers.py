"""The index of folders: what is opened again and what is not."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from atst.corpus import headers, open_corpus
from atst.corpus.listing import listed


def write(path: Path, seconds: float) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.random.default_rng(0).uniform(-0.1, 0.1, round(seconds * 16000)), 16000)
    return path


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ATST_CACHE", str(tmp_path / "cache"))
    for number in range(3):
        write(tmp_path / "sounds" / f"{number}.wav", number + 1.0)
    return tmp_path / "sounds"


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files whose headers are read."""
    names: list[str] = []
    read = headers._headers

    def noted(files, numbers):
        names.extend(Path(files.path(number)).name for number in numbers)
        return read(files, numbers)

    monkeypatch.setattr(headers, "_headers", noted)
    return names


def seconds(*sources: Path) -> list[float]:
    return open_corpus(sources, clip_seconds=100.0).seconds.tolist()


def test_headers_are_read_once(folder, opened):
    assert seconds(folder) == [1.0, 2.0, 3.0]
    assert opened == ["0.wav", "1.wav", "2.wav"]
    opened.clear()
    assert seconds(folder) == [1.0, 2.0, 3.0]
    assert opened == []


def test_new_changed_and_removed_files_are_noticed(folder, opened):
    seconds(folder)
    write(folder / "1.wav", 5.0)
    write(folder / "0b" / "new.wav", 0.75)
    (folder / "0.wav").unlink()
    opened.clear()
    assert seconds(folder) == [0.75, 5.0, 3.0]
    assert opened == ["new.wav", "1.wav"]
    state = (folder / "2.wav").stat()
    write(folder / "2.wav", 3.0)
    os.utime(folder / "2.wav", ns=(state.st_atime_ns, state.st_mtime_ns + 1))
    opened.clear()
    seconds(folder)
    assert opened == ["2.wav"]


def test_a_manifest_has_an_index_too(folder, opened):
    manifest = folder / "m.csv"
    manifest.write_text("path,start,end\n2.wav,1,2.5\n0.wav,,\n2.wav,0,1\n")
    assert seconds(manifest) == [1.5, 1.0, 1.0]
    opened.clear()
    assert seconds(manifest) == [1.5, 1.0, 1.0]
    assert opened == []


def test_stretches_of_a_file_that_is_missing_are_left_out(folder):
    (folder / "m.csv").write_text("path,start,end\ngone.wav,1,2\n0.wav,0,0.75\n")
    corpus = open_corpus([folder / "m.csv"])
    assert corpus.seconds.tolist() == [0.75]
    assert corpus.skipped == [(str(folder / "gone.wav"), "no such file")]


def test_files_that_cannot_be_read_are_tried_again(folder, opened):
    (folder / "broken.wav").write_bytes(b"broken")
    for _ in range(2):
        opened.clear()
        corpus = open_corpus([folder])
        assert corpus.skipped == [(str(folder / "broken.wav"), "not audio in a known format")]
    assert opened == ["broken.wav"]


def test_a_damaged_index_or_one_that_cannot_be_kept_is_as_none(folder, opened, tmp_path, monkeypatch):
    seconds(folder)
    (index,) = (tmp_path / "cache" / "folders").glob("*.parquet")
    index.write_bytes(b"damaged")
    opened.clear()
    assert seconds(folder) == [1.0, 2.0, 3.0]
    assert len(opened) == 3
    (tmp_path / "file").touch()
    monkeypatch.setenv("ATST_CACHE", str(tmp_path / "file"))
    opened.clear()
    assert seconds(folder) == [1.0, 2.0, 3.0]
    assert len(opened) == 3


def test_what_was_read_before_an_interruption_is_kept(folder, opened, monkeypatch):
    def interrupted(results, description, total):
        for number, result in enumerate(results):
            if number == 2:
                raise KeyboardInterrupt
            yield result

    with pytest.raises(KeyboardInterrupt):
        open_corpus([folder], progress=interrupted)
    opened.clear()
    seconds(folder)
    assert opened == ["2.wav"]


SCAN = """
import sys
from atst.corpus import headers, open_corpus
read = headers._headers
headers._headers = lambda files, numbers: print(len(numbers)) or read(files, numbers)
open_corpus([sys.argv[1]])
"""


def test_of_several_processes_one_opens_the_headers(folder):
    processes = [
        subprocess.Popen([sys.executable, "-c", SCAN, str(folder)], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    assert sorted(int(process.communicate()[0]) for process in processes) == [0, 0, 3]


def test_the_same_file_by_several_names_counts_once(folder, tmp_path):
    (folder / "link.wav").symlink_to(folder / "0.wav")
    (folder / "loop").symlink_to(folder)
    (tmp_path / "other").symlink_to(folder)
    assert seconds(folder, tmp_path / "other", folder / "2.wav") == [1.0, 2.0, 3.0]


def test_names_and_order_are_those_of_the_sorted_paths(tmp_path):
    names = ["a.wav", "a/z.wav", "a b/c.wav", "b-1/x.wav", "b/x.wav", "b.wav", "é.wav", "a/b/c.wav"]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    files = listed(tmp_path)
    assert [files.path(number) for number in range(len(files))] == sorted(
        (str(tmp_path / name) for name in names), key=Path
    )
