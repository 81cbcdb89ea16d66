"""Downloads, from a server on this machine."""

import hashlib
import io
import re
import signal
import sys
import tarfile
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from trees import TREES

from atst.errors import AtstError
from atst.tasks import DATASETS
from atst.tasks.download import download, fetch, unfinished, unpack
from atst.tasks.spec import Archive
from atst.training import signals

pytest.importorskip("pooch", reason="needs the extra data")
requests = pytest.importorskip("requests")


class Server:
    """Files by name; counts and records what is asked; can break off after some bytes, or know no ranges.

    With `silent` it does not break off but calls that, and then sends nothing more until the test ends.
    """

    def __init__(self):
        self.files = {}
        self.asked = []  # (name, Range header)
        self.break_after = None
        self.ranges = True
        self.silent, self.ended = None, threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                outer.answer(self)

            def log_message(self, *_):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def url(self, name):
        return f"http://127.0.0.1:{self.http.server_port}/{name}"

    def answer(self, request):
        name = request.path.lstrip("/")
        self.asked.append((name, request.headers.get("Range")))
        if name not in self.files:
            request.send_error(404)
            return
        body, start = self.files[name], 0
        tag = f'"{hashlib.md5(body).hexdigest()}"'
        wanted = re.fullmatch(r"bytes=(\d+)-", request.headers.get("Range") or "")
        if wanted and self.ranges and request.headers.get("If-Range") in (None, tag):
            start = int(wanted[1])
            if start >= len(body):
                request.send_response(416)
                request.send_header("Content-Range", f"bytes */{len(body)}")
                request.end_headers()
                return
        request.send_response(206 if start else 200)
        request.send_header("ETag", tag)
        if start:
            request.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        request.send_header("Content-Length", str(len(body) - start))
        request.end_headers()
        end = len(body) if self.break_after is None else start + self.break_after
        request.wfile.write(body[start:end])
        if end < len(body):
            request.wfile.flush()
            request.close_connection = True
            if self.silent:
                self.silent()
                self.ended.wait()


@pytest.fixture
def server():
    server = Server()
    yield server
    server.ended.set()
    server.http.shutdown()
    server.http.server_close()


def archive(server, name, body, checksum=True):
    server.files[name] = body
    return Archive(
        server.url(name), f"sha256:{hashlib.sha256(body).hexdigest()}" if checksum else None, "Zenodo"
    )


@pytest.fixture
def https(monkeypatch):
    """The server's answers pass for such to https requests: it has no certificate."""
    get = requests.get

    def secure(url, **options):
        answer = get(url.replace("https:", "http:"), **options)
        answer.url = url
        return answer

    monkeypatch.setattr(requests, "get", secure)
    monkeypatch.setattr(
        Server, "url", lambda server, name: f"https://127.0.0.1:{server.http.server_port}/{name}"
    )


def packed(kind, files):
    """The bytes of a tar.gz or zip of {name: bytes}."""
    stream = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(stream, "w") as made:
            for name, body in files.items():
                made.writestr(name, body)
    else:
        with tarfile.open(fileobj=stream, mode="w:gz") as made:
            for name, body in files.items():
                member = tarfile.TarInfo(name)
                member.size = len(body)
                made.addfile(member, io.BytesIO(body))
    return stream.getvalue()


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_an_archive_is_fetched_unpacked_and_not_asked_for_again(server, tmp_path, kind):
    one = archive(server, f"clips.{kind}", packed(kind, {"audio/1.wav": b"one", "meta.csv": b"path\n"}))
    assert download((one,), tmp_path) == []
    assert (tmp_path / "audio" / "1.wav").read_bytes() == b"one"
    assert download((one,), tmp_path) == []
    assert len(server.asked) == 1


def test_an_unpacking_that_was_interrupted_is_done_again(server, tmp_path):
    one = archive(server, "clips.zip", packed("zip", {"audio/1.wav": b"one", "audio/2.wav": b"two"}))
    fetch(one, tmp_path / "archives" / "clips.zip")
    (tmp_path / "audio").mkdir()
    (tmp_path / "audio" / "1.wav").write_bytes(b"o")
    assert unfinished((one,), tmp_path)
    download((one,), tmp_path)
    assert (tmp_path / "audio" / "1.wav").read_bytes() == b"one"
    assert not unfinished((one,), tmp_path)
    assert len(server.asked) == 1


def test_an_interrupted_download_goes_on_where_it_stopped(server, tmp_path):
    body = np.random.default_rng(0).bytes(3_000_000)
    one = archive(server, "big.bin", body)
    server.break_after = 1_200_000
    with pytest.raises(AtstError, match=r"cannot download .* Run it again to continue"):
        fetch(one, tmp_path / "big.bin")
    assert not (tmp_path / "big.bin").exists()
    kept = (tmp_path / "big.bin.part").stat().st_size
    assert kept >= 1_000_000
    server.break_after = None
    fetch(one, tmp_path / "big.bin")
    assert (tmp_path / "big.bin").read_bytes() == body
    assert server.asked[1] == ("big.bin", f"bytes={kept}-")
    assert [path.name for path in tmp_path.iterdir()] == ["big.bin"]


BODY = np.random.default_rng(0).bytes(2_500_000)


@pytest.mark.parametrize("sent", [0, 1_200_000])
def test_a_server_that_falls_silent_is_not_waited_for(server, tmp_path, monkeypatch, sent):
    one = archive(server, "x.bin", BODY)
    server.break_after, server.silent = sent, lambda: None
    with monkeypatch.context() as patch:
        patch.setattr(sys.modules["atst.tasks.download"], "TIMEOUT", 0.2)
        with pytest.raises(AtstError, match=r"cannot download .*timed out.* Run it again to continue"):
            fetch(one, tmp_path / "x.bin")
    assert_goes_on(server, one, tmp_path / "x.bin")


def test_ctrl_c_in_a_download(server, tmp_path):
    main = threading.main_thread().ident
    one = archive(server, "x.bin", BODY)
    server.break_after = 1_200_000
    server.silent = lambda: signal.pthread_kill(main, signal.SIGINT)
    with signals.restored():
        signals.install(signals.handler(signals.stop))
        with pytest.raises(KeyboardInterrupt):
            fetch(one, tmp_path / "x.bin")
    assert_goes_on(server, one, tmp_path / "x.bin")


def assert_goes_on(server, one, path):
    """The file is not there, but is after a second try, alone."""
    assert not path.exists()
    server.break_after = None
    fetch(one, path)
    assert path.read_bytes() == BODY
    assert list(path.parent.iterdir()) == [path]


@pytest.fixture
def broken_off(server, tmp_path):
    """`x.bin`, of which a first try got the first part."""
    one = archive(server, "x.bin", BODY)
    server.break_after = 1_500_000
    with pytest.raises(AtstError, match="cannot download"):
        fetch(one, tmp_path / "x.bin")
    assert (tmp_path / "x.bin.part").stat().st_size > 0
    server.break_after = None
    return one


def test_a_server_without_ranges_starts_again(server, broken_off, tmp_path):
    server.ranges = False
    fetch(broken_off, tmp_path / "x.bin")
    assert (tmp_path / "x.bin").read_bytes() == BODY


def test_a_part_of_a_file_that_has_changed_meanwhile_is_not_continued(server, broken_off, tmp_path):
    changed = archive(server, "x.bin", b"another body")
    fetch(changed, tmp_path / "x.bin")
    assert server.asked[-1][1] is not None
    assert (tmp_path / "x.bin").read_bytes() == b"another body"


def test_a_part_of_which_nothing_is_known_is_not_continued(server, tmp_path):
    one = archive(server, "x.bin", BODY)
    (tmp_path / "x.bin.part").write_bytes(b"from elsewhere")
    fetch(one, tmp_path / "x.bin")
    assert (tmp_path / "x.bin").read_bytes() == BODY
    assert server.asked == [("x.bin", None)]


def test_a_part_that_is_whole_already_is_taken(server, broken_off, tmp_path):
    (tmp_path / "x.bin.part").write_bytes(BODY)
    fetch(broken_off, tmp_path / "x.bin")
    assert (tmp_path / "x.bin").read_bytes() == BODY
    assert [path.name for path in tmp_path.iterdir()] == ["x.bin"]


def test_without_https_and_sha256_nothing_is_downloaded(server, tmp_path):
    body = packed("zip", {"a": b"a"})
    for checksum in (None, f"md5:{hashlib.md5(body).hexdigest()}"):
        one = Archive(server.url("x.zip"), checksum)
        server.files["x.zip"] = body
        with pytest.raises(
            AtstError, match=r"neither over https .* Fetch it by hand, save it as .*x\.zip"
        ) as error:
            download((one,), tmp_path)
        assert "\n" not in str(error.value)
    assert server.asked == []
    (tmp_path / "archives").mkdir()
    (tmp_path / "archives" / "x.zip").write_bytes(body)  # by hand
    download((one,), tmp_path)
    assert (tmp_path / "a").exists()


def test_https_that_leads_to_http_needs_a_sha256(server, tmp_path, https, monkeypatch):
    archive(server, "x.zip", packed("zip", {"a": b"a"}))
    secure = requests.get

    def led_on(url, **options):
        answer = secure(url, **options)
        answer.url = url.replace("https:", "http:")
        return answer

    monkeypatch.setattr(requests, "get", led_on)
    with pytest.raises(AtstError, match="redirects to an address without https"):
        download((Archive(server.url("x.zip")),), tmp_path)


def test_every_task_is_downloaded_over_https_or_pinned():
    archives = [one for known in DATASETS.values() for one in known.archives]
    assert archives
    assert [one.url for one in archives if not one.url.startswith("https://") and not one.pinned] == []


def test_a_wrong_checksum_leaves_nothing_behind(server, tmp_path):
    one = archive(server, "x.zip", b"good")
    server.files["x.zip"] = b"evil"
    with pytest.raises(AtstError, match=r"checksum is not the expected one \(sha256:.*, Zenodo\)"):
        download((one,), tmp_path)
    assert not list((tmp_path / "archives").iterdir())
    server.files["x.zip"] = b"evil"
    server.files["x.zip"] = packed("zip", {"a": b"a"})
    download((archive(server, "x.zip", server.files["x.zip"]),), tmp_path)
    assert (tmp_path / "a").exists()


def test_without_a_published_checksum_the_one_found_is_told(server, tmp_path, https):
    body = packed("zip", {"a": b"a"})
    (remark,) = download((archive(server, "x.zip", body, checksum=False),), tmp_path)
    assert hashlib.sha256(body).hexdigest() in remark
    assert "no checksum is published" in remark


def test_a_plain_file_lies_in_the_folder_itself(server, tmp_path):
    download((archive(server, "iden_split.txt", b"1 id1/a/1.wav\n"),), tmp_path)
    assert (tmp_path / "iden_split.txt").read_bytes() == b"1 id1/a/1.wav\n"


def test_a_missing_file_and_a_dead_server_are_told_in_one_line(server, tmp_path, https):
    with pytest.raises(AtstError, match="404") as error:
        download((Archive(server.url("none.zip")),), tmp_path)
    assert "\n" not in str(error.value)
    server.http.shutdown()
    server.http.server_close()
    with pytest.raises(AtstError, match="cannot download"):
        download((Archive(server.url("x.zip")),), tmp_path)


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
@pytest.mark.parametrize("name", ["../outside", "/tmp/atst-outside"])
def test_nothing_is_written_outside_the_folder(tmp_path, kind, name):
    path = tmp_path / f"x.{kind}"
    path.write_bytes(packed(kind, {name: b"x"}))
    if kind == "zip" or name.startswith(".."):
        with pytest.raises(AtstError, match="outside"):
            unpack(path, tmp_path / "data")
    else:
        unpack(path, tmp_path / "data")  # tar: a leading slash is taken off
        assert (tmp_path / "data" / "tmp" / "atst-outside").exists()
    assert not (tmp_path / "outside").exists()


def test_a_link_out_of_the_folder_is_refused(tmp_path):
    path = tmp_path / "x.tar.gz"
    with tarfile.open(path, "w:gz") as made:
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "../.."
        made.addfile(link)
    with pytest.raises(AtstError, match="cannot unpack"):
        unpack(path, tmp_path / "data")


@pytest.mark.parametrize("name", ["x.zip", "x.tar.gz"])
def test_a_damaged_archive_is_told(tmp_path, name):
    (tmp_path / name).write_bytes(b"not an archive")
    with pytest.raises(AtstError, match=r"cannot unpack .*Remove it and download again"):
        unpack(tmp_path / name, tmp_path / "data")


def test_the_parts_of_a_split_zip_are_joined(server, tmp_path):
    import shutil
    import subprocess

    if shutil.which("zip") is None:
        pytest.skip("needs the program zip")
    body = np.random.default_rng(0).bytes(300_000)
    (tmp_path / "FSD50K.dev_audio").mkdir()
    (tmp_path / "FSD50K.dev_audio" / "1.wav").write_bytes(body)
    command = ["zip", "-q", "-r", "-s", "100k", "FSD50K.dev_audio.zip", "FSD50K.dev_audio"]
    subprocess.run(command, cwd=tmp_path, check=True)
    names = [path.name for path in sorted(tmp_path.glob("*.z*"))]
    assert names[0].endswith(".z01")
    assert names[-1].endswith(".zip")
    parts = tuple(archive(server, name, (tmp_path / name).read_bytes()) for name in names)
    download(parts, tmp_path / "data")
    assert (tmp_path / "data" / "FSD50K.dev_audio" / "1.wav").read_bytes() == body
    assert not list((tmp_path / "data" / "archives").glob("*joined*"))


def test_the_last_of_split_parts_comes_last():
    for known in DATASETS.values():
        names = [one.name for one in known.archives]
        for name in names:
            if re.search(r"\.z\d\d$", name):
                assert names.index(name) < names.index(name[:-3] + "zip")


def test_a_whole_task_from_the_server(server, tmp_path, monkeypatch, https):
    import dataclasses

    from atst.tasks import load_task

    source = tmp_path / "ESC-50-master"
    source.mkdir()
    TREES["esc50"](source)
    files = {str(p.relative_to(tmp_path)): p.read_bytes() for p in source.rglob("*") if p.is_file()}
    one = archive(server, "master.zip", packed("zip", files), checksum=False)
    monkeypatch.setitem(DATASETS, "esc50", dataclasses.replace(DATASETS["esc50"], archives=(one,)))
    download(DATASETS["esc50"].archives, tmp_path / "data")
    assert len(load_task("esc50", tmp_path / "data")) == 60
