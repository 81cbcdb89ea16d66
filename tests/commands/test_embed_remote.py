"""Recordings at addresses and on standard input, as `atst embed` reads them."""

import functools
import subprocess
import sys
import tempfile
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import fsspec
import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile

import atst
from atst.sound import storage


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    path = tmp_path_factory.mktemp("sounds") / "a b.wav"
    soundfile.write(path, np.random.default_rng(0).normal(0, 0.1, 16000), 16000)
    return path


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format, *arguments):
        pass


@pytest.fixture
def server(sound):
    handler = functools.partial(Quiet, directory=sound.parent)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def rows(path):
    table = pq.read_table(path)
    return table["path"].to_pylist(), np.stack(table["embedding"].to_numpy())


@pytest.fixture(autouse=True)
def own_temporary_folder(tmp_path_factory, monkeypatch):
    folder = str(tmp_path_factory.mktemp("temporary"))
    monkeypatch.setattr(tempfile, "tempdir", folder)
    monkeypatch.setenv("TMPDIR", folder)


def copies():
    return [file for folder in Path(tempfile.gettempdir()).glob("atst-*") for file in folder.iterdir()]


def test_addresses_give_the_rows_of_files(sound, server, tmp_path):
    memory = fsspec.filesystem("memory")
    memory.pipe_file("/embed/dog.wav", sound.read_bytes())
    (tmp_path / "m.csv").write_text(f"path,start,end\n{server}/a%20b.wav?take=1,0.2,0.7\n")
    sources = [sound, "memory://embed/dog.wav", f"{server}/a%20b.wav", tmp_path / "m.csv"]
    atst.embed(sources, model="logmel", out=tmp_path / "x.parquet")
    names, vectors = rows(tmp_path / "x.parquet")
    assert names == [*map(str, sources[:3]), f"{server}/a%20b.wav?take=1"]
    np.testing.assert_array_equal(vectors[1], vectors[0])
    np.testing.assert_array_equal(vectors[2], vectors[0])
    part = soundfile.read(sound, start=3200, stop=11200, dtype="float32")[0]
    np.testing.assert_allclose(vectors[3], atst.load("logmel").embed(part, sample_rate=16000), atol=1e-5)
    assert not copies()


def test_what_cannot_be_fetched_is_listed(sound, server, tmp_path, monkeypatch):
    monkeypatch.setattr(storage, "PAUSE", 0.0)
    fsspec.filesystem("memory").pipe_file("/embed/bad.wav", b"not sound")
    bad = ["memory://embed/none.wav", "memory://embed/bad.wav", f"{server}/none.wav", "nowhere://x/y.wav"]
    with pytest.raises(atst.AudioError, match="1 of 5 recordings done"):
        atst.embed([sound, *bad], model="logmel", out=tmp_path / "x.parquet")
    listed = (tmp_path / "x.parquet.errors.csv").read_text().splitlines()
    assert [line.partition(",")[0] for line in listed[1:]] == bad
    assert [line.partition(",")[2] for line in listed[1:4]] == [
        "no such file",
        "not audio in a known format",
        "no such file",
    ]
    assert "nowhere" in listed[4]
    assert not copies()


def test_kept_rows_of_addresses_are_not_fetched_again(sound, tmp_path):
    memory = fsspec.filesystem("memory")
    memory.pipe_file("/embed/once.wav", sound.read_bytes())
    for _ in range(2):
        atst.embed(["memory://embed/once.wav"], model="logmel", out=tmp_path / "x.parquet", resume=True)
        if memory.exists("/embed/once.wav"):
            memory.rm("/embed/once.wav")
    assert rows(tmp_path / "x.parquet")[0] == ["memory://embed/once.wav"]


@pytest.mark.parametrize("command", ["check", "pack"])
def test_commands_that_read_local_files_say_so(tmp_path, command):
    out = tmp_path / ("x.csv" if command == "check" else "corpus")
    with pytest.raises(atst.UsageError, match=r"memory://a\.wav: this command reads audio files on this"):
        getattr(atst, command)(["memory://a.wav"], out=out)


def test_standard_input(sound, tmp_path):
    command = [sys.executable, "-m", "atst", "embed", "-", "--model", "logmel"]
    with sound.open("rb") as file:
        subprocess.run([*command, "--out", tmp_path / "x.parquet"], stdin=file, check=True)
    names, vectors = rows(tmp_path / "x.parquet")
    assert names == ["-"]
    np.testing.assert_allclose(vectors[0], atst.load("logmel").embed(sound), atol=1e-5)
    assert not copies()
    command += ["--out", tmp_path / "y.parquet", "--resume"]
    done = subprocess.run(command, input=sound.read_bytes(), capture_output=True, check=False)
    assert done.returncode == 2
    assert b"standard input cannot be read again" in done.stderr
