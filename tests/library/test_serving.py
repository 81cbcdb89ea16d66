"""The server of the label page: who is let in, what is served, ranges."""

import http.client
import json
import re

import made
import pytest
import soundfile

from atst.library.label_page import LabelPage
from atst.library.label_table import LabelTable
from atst.library.labelling import Labelling
from atst.library.library import Library


@pytest.fixture
def served(tmp_path, tones, vectors):
    library = Library(made.write(tmp_path / "lib.parquet", vectors, [str(path) for path in tones]))
    with LabelPage(Labelling(library, LabelTable(tmp_path / "meta.csv"), ["high", "low"])) as page:
        yield page


def ask(page, what, method="GET", body=None, token=None, **headers):
    """Status, headers and content of an answer."""
    port, own = re.fullmatch(r"http://127\.0\.0\.1:(\d+)/(\S+)/", page.server.address).groups()
    connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=60)
    path = f"/{own if token is None else token}/{what}"
    connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, dict(answer.getheaders()), content


def post(page, what, **sent):
    status, _, content = ask(page, what, "POST", json.dumps(sent))
    return status, json.loads(content)


def test_a_label_a_key(served, tmp_path):
    state = json.loads(ask(served, "state")[2])
    status, after = post(served, "label", row=state["row"], labels=["low"])
    assert (status, after["labelled"]) == (200, 1)
    assert after["row"] != state["row"]
    assert (tmp_path / "meta.csv").read_text().count("low") >= 1
    assert post(served, "label", row=state["row"], labels=["low"])[0] == 409
    assert post(served, "undo")[1]["row"] == state["row"]
    assert post(served, "skip", row=state["row"])[1]["left"] == 23
    assert [one["name"] for one in post(served, "class", name="<b>")[1]["classes"]][-1] == "<b>"


@pytest.mark.parametrize("what", ["", "state", "sound/0", "picture/0", "undo"])
def test_nobody_comes_in_without_the_token(served, what):
    for token in ("", "x" * 32, "%C3%A9", "../"):
        assert ask(served, what, token=token)[0] == 404
    assert ask(served, what, Host="evil.example")[0] == 404
    assert ask(served, what, "POST", "{}", token="x")[0] == 404


@pytest.mark.parametrize(
    "what",
    ["sound/99", "sound/-1", "sound/../meta.csv", "sound//etc/passwd", "meta.csv", "..%2fmeta.csv", "sound/"],
)
def test_no_path_reaches_the_disk(served, what):
    assert ask(served, what)[0] == 404


@pytest.mark.parametrize("what", ["undo", "label", "stop", "skip"])
def test_looking_changes_nothing(served, what):
    assert ask(served, what)[0] == 404


@pytest.mark.parametrize("body", ["", "[]", "no", '{"row": []}', '{"row": 0, "labels": 5}', "{" * 9])
def test_requests_that_are_none(served, body):
    assert ask(served, "label", "POST", body)[0] == 400


def test_a_request_may_not_be_long(served):
    assert ask(served, "class", "POST", b"x" * 70000)[0] == 404


def test_sound_comes_in_stretches(served, tmp_path):
    status, headers, whole = ask(served, "sound/3")
    assert (status, headers["Content-Type"], headers["Accept-Ranges"]) == (200, "audio/flac", "bytes")
    (tmp_path / "heard.flac").write_bytes(whole)
    assert soundfile.info(tmp_path / "heard.flac").frames == 16000
    for asked, first, last in (
        ("10-19", 10, 19),
        ("10-", 10, len(whole) - 1),
        ("0-99999999", 0, len(whole) - 1),
    ):
        status, headers, part = ask(served, "sound/3", Range=f"bytes={asked}")
        assert (status, part) == (206, whole[first : last + 1])
        assert headers["Content-Range"] == f"bytes {first}-{last}/{len(whole)}"
    status, headers, _ = ask(served, "sound/3", Range="bytes=99999999-")
    assert (status, headers["Content-Range"]) == (416, f"bytes */{len(whole)}")
    assert ask(served, "sound/3", Range="bytes=a-b")[0] == 200
    assert ask(served, "picture/3")[2].startswith(b"\x89PNG")


def test_a_sound_that_is_none_says_so(served, tones):
    for path in tones:
        path.write_bytes(b"no sound")
    status, _, content = ask(served, "sound/0")
    assert status == 409
    assert "wav" in json.loads(content)["error"]


def test_the_page_asks_for_nothing_from_elsewhere(served):
    status, headers, page = ask(served, "")
    assert status == 200
    assert headers["Content-Security-Policy"].startswith("default-src 'none'; script-src 'nonce-")
    assert b"http" not in page
