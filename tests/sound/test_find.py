"""Which recordings are found in what a user names, and what is left out with a reason."""

import json
import os
import socket
from pathlib import Path

import pytest

from atst.errors import CorpusError, UsageError
from atst.sound.find import find_audio
from atst.sound.recording import Recording
from atst.tasks.listing import audio_under


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"sound")
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "sounds"
    for name in ("a.flac", "b/long.WAV", "broken.mp3", "c.wav", ".hidden/d.wav", "b/._c.wav", "notes.md"):
        touch(root / name)
    return root


def paths(*sources):
    return [recording.path for recording in find_audio(sources).recordings]


def test_sources_in_order_and_once(folder, tmp_path):
    one, two = folder / "a.flac", folder / "b" / "long.WAV"
    (tmp_path / "m.csv").write_text("seconds,path\n7.3,sounds/b/long.WAV\n2,sounds/a.flac\n")
    (tmp_path / "m.jsonl").write_text(json.dumps({"path": str(two)}) + "\n\n" + json.dumps("sounds/a.flac"))
    (tmp_path / "m.txt").write_text("sounds/b/long.WAV\n\nsounds/a.flac\n")
    for name in ("m.csv", "m.jsonl", "m.txt"):
        assert paths(tmp_path / name) == [two, one]
    assert paths(one, folder, tmp_path / "m.csv") == [one, two, folder / "broken.mp3", folder / "c.wav"]
    assert find_audio(str(one)).recordings == [Recording(one)]


def test_links_are_followed_and_each_folder_counts_once(folder, tmp_path):
    disk = touch(tmp_path / "disk" / "e.wav").parent
    (folder / "disk").symlink_to(disk)
    (folder / "again").symlink_to(disk)
    (disk / "loop").symlink_to(folder)
    (folder / "linked.wav").symlink_to(folder / "c.wav")
    names = {"a.flac", "b/long.WAV", "broken.mp3", "c.wav", "again/e.wav"}
    assert {str(path.relative_to(folder)) for path in paths(folder)} == names
    assert audio_under(folder) == names | {"linked.wav"}, "a task may list one file under two names"


def test_only_regular_files_are_read(folder, tmp_path):
    os.mkfifo(folder / "pipe.wav")
    (folder / "nowhere.wav").symlink_to(tmp_path / "gone.wav")
    with socket.socket(socket.AF_UNIX) as server:
        here = Path.cwd()
        os.chdir(folder)  # a socket's path must be short
        server.bind("socket.wav")
        os.chdir(here)
        found = find_audio([folder])
    assert len(found.recordings) == 4
    assert found.skipped == [
        (str(folder / "nowhere.wav"), "no such file"),
        (str(folder / "pipe.wav"), "is a pipe, not a file"),
        (str(folder / "socket.wav"), "is a socket, not a file"),
    ]
    with pytest.raises(UsageError, match=r"pipe\.wav: is a pipe"):
        find_audio([folder / "pipe.wav"])
    (tmp_path / "m.txt").write_text("sounds/pipe.wav\nsounds/c.wav\n")
    found = find_audio([tmp_path / "m.txt"])
    assert [r.path for r in found.recordings] == [folder / "c.wav"]
    assert found.skipped == [(str(folder / "pipe.wav"), "is a pipe, not a file")]
    assert len(found) == 2


def test_a_folder_that_cannot_be_read(folder, monkeypatch):
    scandir = os.scandir

    def locked(path):
        if str(path).endswith("/b"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", locked)
    found = find_audio([folder])
    assert [r.path.name for r in found.recordings] == ["a.flac", "broken.mp3", "c.wav"]
    assert found.skipped == [(str(folder / "b"), "folder cannot be read: Permission denied")]
    with pytest.raises(CorpusError, match=r"/b: .*Permission denied"):
        find_audio([folder / "b"])
    with pytest.raises(UsageError, match=r"/b: folder cannot be read"):
        audio_under(folder)
