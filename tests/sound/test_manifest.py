"""Recordings and stretches of them that manifests list."""

import json

import pytest

from atst.errors import CorpusError, UsageError
from atst.sound.find import find_audio


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("empty.csv", "", "no column 'path'; it has: none"),
        ("a.csv", "file,label\nx.wav,1\n", "no column 'path'; it has: file, label"),
        ("a.jsonl", '{"path": "x.wav"}\n{oops\n', "line 2 is not JSON"),
        ("a.jsonl", '{"file": "x.wav"}\n', "line 1 has no 'path'"),
        ("b.txt", "", "b.txt: this manifest lists no files"),
        (
            "a.csv",
            "path,start,end\nx.wav,1,2\nx.wav,2,2\n",
            "a.csv, line 3: end 2 s is not after start 2 s",
        ),
        ("a.csv", "path,start\nx.wav,-1\n", "a.csv, line 2: start must be seconds, 0 or more, not '-1'"),
        ("a.jsonl", '{"path": "x.wav", "end": "soon"}\n', "a.jsonl, line 1: end must be seconds"),
    ],
)
def test_wrong_manifests(tmp_path, name, text, reason):
    (tmp_path / name).write_text(text)
    with pytest.raises((UsageError, CorpusError), match=reason):
        find_audio([tmp_path / name])


def test_stretches(tmp_path):
    (tmp_path / "m.csv").write_text(
        "path,start,end\n"
        + "".join(f"sounds/c.wav,{stretch}\n" for stretch in ("1,2.5", "1,2.5", ",4", "3,", ","))
    )
    found = find_audio([tmp_path / "m.csv"]).recordings
    assert [(r.start, r.end) for r in found] == [(1, 2.5), (0, 4), (3, None), (0, None)]
    assert [r.where.removeprefix(str(tmp_path)) for r in found] == [
        "/m.csv, line 2",
        "/m.csv, line 4",
        "/m.csv, line 5",
        "",
    ]
    (tmp_path / "m.jsonl").write_text(json.dumps({"path": "sounds/c.wav", "start": 1, "end": 2.5}))
    assert [(r.start, r.end) for r in find_audio([tmp_path / "m.jsonl"]).recordings] == [(1, 2.5)]
