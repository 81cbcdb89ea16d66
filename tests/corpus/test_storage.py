"""Packed corpora in object storage, by the memory file system and by a web server."""

import re
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import fsspec
import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile

import atst
from atst.corpus import open_corpus
from atst.errors import AudioError, CorpusError, UsageError
from atst.sound import storage
from atst.sound.packed import open_packed

LATENCY = 0.02  # s


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sounds")
    for number in range(3):
        samples = np.random.default_rng(number).uniform(-0.5, 0.5, 16000 * (number + 1))
        soundfile.write(folder / f"{number}.wav", samples, 16000, subtype="PCM_16")
    atst.pack([folder], out=folder / "corpus", quiet=True)
    return folder / "corpus"


class Server(ThreadingHTTPServer):
    """Serves a folder with some latency, by ranges or, if `ranges` is false, whole files alone."""

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder, self.ranges, self.failures = folder, True, 0
        self.served: list[tuple[str, int]] = []  # path, bytes
        self.address = f"http://127.0.0.1:{self.server_port}/corpus"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        time.sleep(LATENCY)
        path = self.server.folder / self.path.removeprefix("/corpus/")
        if self.server.failures and self.path.endswith(".pcm"):
            self.server.failures -= 1
            self.answer(503, b"")
        elif not path.is_file():
            self.answer(404, b"")
        elif self.server.ranges and (
            span := re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        ):
            content = path.read_bytes()
            part = content[int(span[1]) : int(span[2]) + 1]
            self.answer(206, part, f"bytes {span[1]}-{span[2]}/{len(content)}")
        else:
            self.answer(200, path.read_bytes())

    do_HEAD = do_GET

    def answer(self, code: int, content: bytes, span: str = "") -> None:
        self.server.served.append((self.path, len(content)))
        self.send_response(code)
        self.send_header("Content-Length", str(len(content)))
        if span:
            self.send_header("Content-Range", span)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def server(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(storage, "PAUSE", 0.01)
    with Server(corpus) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def memory(corpus: Path) -> str:
    files = fsspec.filesystem("memory")
    for path in corpus.iterdir():
        files.pipe(f"/bucket/corpus/{path.name}", path.read_bytes())
    return "memory://bucket/corpus"


def test_the_memory_file_system(corpus, memory):
    here, there = open_corpus([corpus], clip_seconds=1.5), open_corpus([memory], clip_seconds=1.5)
    np.testing.assert_array_equal(there.seconds, here.seconds)
    for index in range(len(here)):
        np.testing.assert_array_equal(there.read(index, 0.1, 0.3), here.read(index, 0.1, 0.3))
    assert open_packed(memory).columns(["path"]) == {"path": ["0.wav", "1.wav", "2.wav"]}


def test_a_web_server_is_asked_for_no_more_than_is_needed(corpus, server):
    here, there = open_corpus([corpus]), open_corpus([server.address])
    assert {path for path, _ in server.served} == {"/corpus/index.parquet"}
    server.served.clear()
    np.testing.assert_array_equal(there.read(1, 0.25, 0.5), here.read(1, 0.25, 0.5))
    assert server.served == [("/corpus/shard-00000.pcm", 16000)]


def test_embeddings_are_those_of_the_local_corpus(corpus, server, tmp_path):
    rows = []
    for source in (corpus, server.address):
        atst.embed([source], model="random:nano", out=tmp_path / "rows.parquet", quiet=True)
        rows.append(pq.read_table(tmp_path / "rows.parquet"))
    assert rows[0]["path"].to_pylist() == ["0.wav", "1.wav", "2.wav"]
    assert rows[1].equals(rows[0])


def test_a_request_that_fails_is_made_again(server):
    corpus = open_packed(server.address)
    server.failures = 2
    assert len(corpus.waveform(0)) == 16000
    server.failures = 3
    with pytest.raises(AudioError, match=r"shard-00000.pcm: cannot be read \(.*503"):
        corpus.waveform(0)


def test_what_is_wrong_with_remote_corpora(server, memory):
    with pytest.raises(CorpusError, match=r"elsewhere/index.parquet: missing"):
        open_corpus([server.address + "/elsewhere"])
    corpus = open_packed(server.address)
    server.ranges = False
    with pytest.raises(AudioError, match="its server ignores ranges"):
        corpus.waveform(0, 0, 100)
    fsspec.filesystem("memory").pipe("/bucket/corpus/shard-00000.pcm", b"short")
    with pytest.raises(
        AudioError, match=r"shard-00000.pcm: 5 bytes where 32,000 were asked for: it is cut short"
    ):
        open_packed(memory).waveform(0)
    fsspec.filesystem("memory").rm("/bucket/corpus/shard-00000.pcm")
    with pytest.raises(AudioError, match=r"shard-00000.pcm: missing"):
        open_packed(memory).waveform(0)
    with pytest.raises(UsageError, match="elsewhere://corpus: Protocol not known"):
        open_corpus(["elsewhere://corpus"])
