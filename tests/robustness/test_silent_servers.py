"""A server that says nothing, or stops on the way, costs what it serves; Ctrl-C ends the waiting."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile

import atst
from atst.sound import storage


class Server:
    """Serves one file: `sent` bytes of it (None: not even a header), and then nothing, for ever."""

    def __init__(self, content):
        self.content, self.sent = content, None
        self.asked = threading.Event()
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.connections = []
        threading.Thread(target=self._serve, daemon=True).start()

    @property
    def address(self):
        return f"http://127.0.0.1:{self.listening.getsockname()[1]}/a.wav"

    def _serve(self):
        while True:
            try:
                connection, _ = self.listening.accept()
            except OSError:
                return
            self.connections.append(connection)
            threading.Thread(target=self._answer, args=[connection], daemon=True).start()

    def _answer(self, connection):
        while connection.recv(65536):
            self.asked.set()
            if self.sent is not None:
                header = f"HTTP/1.1 200 OK\r\nContent-Length: {len(self.content)}\r\n\r\n"
                connection.sendall(header.encode() + self.content[: self.sent])

    def close(self):
        for one in (self.listening, *self.connections):
            one.close()


@pytest.fixture
def server(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.random.default_rng(0).normal(0, 0.1, 64000), 16000)
    server = Server((tmp_path / "a.wav").read_bytes())
    yield server
    server.close()


@pytest.mark.parametrize("sent", [None, 70_000])
def test_embed_leaves_out_what_does_not_come(server, tmp_path, monkeypatch, sent):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    server.sent = sent
    embed = {"model": "logmel", "out": tmp_path / "x.parquet", "resume": True, "quiet": True}
    with monkeypatch.context() as patch:
        patch.setattr(storage, "SILENCE", 0.2)
        patch.setattr(storage, "PAUSE", 0.0)
        with pytest.raises(atst.AudioError, match="1 of 2 recordings done, 1 skipped"):
            atst.embed([tmp_path / "a.wav", server.address], **embed)
    listed = (tmp_path / "x.parquet.errors.csv").read_text().splitlines()[1:]
    assert [line.partition(",")[0] for line in listed] == [server.address]
    assert "cannot be read" in listed[0]
    server.sent = len(server.content)
    atst.embed([tmp_path / "a.wav", server.address], **embed)
    table = pq.read_table(tmp_path / "x.parquet")
    assert table["path"].to_pylist() == [str(tmp_path / "a.wav"), server.address]
    first, second = table["embedding"].to_pylist()
    assert first == second
    assert not (tmp_path / "x.parquet.errors.csv").exists()


@pytest.mark.parametrize("sent", [None, 70_000])
def test_a_packed_corpus_that_does_not_come(server, monkeypatch, sent):
    monkeypatch.setattr(storage, "SILENCE", 0.2)
    monkeypatch.setattr(storage, "PAUSE", 0.0)
    server.sent = sent
    with pytest.raises(atst.CorpusError, match="cannot be read"):
        storage.read_whole(server.address.removesuffix("/a.wav"), "a.wav")


@pytest.mark.full
@pytest.mark.parametrize("sent", [None, 70_000])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_waiting(server, tmp_path, sent, number):
    server.sent = sent
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    command = [sys.executable, "-m", "atst", "embed", server.address, "--model", "logmel"]
    with subprocess.Popen(
        [*command, "--out", tmp_path / "x.parquet"],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(temporary)},
    ) as process:
        server.asked.wait()
        process.send_signal(number)
        said = process.communicate()[1]
    assert process.returncode == 128 + number
    assert "atst: error: interrupted" in said.splitlines()[-1]
    assert "Traceback" not in said
    assert {path.name for path in tmp_path.iterdir()} == {"a.wav", "temporary"}
    assert list(temporary.iterdir()) == []
