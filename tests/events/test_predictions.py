"""What `atst predict` writes for Raven and Audacity reads back as the same rows."""

import pyarrow as pa
import pytest

from atst.errors import UsageError
from atst.events.collect import collect
from atst.events.event import Options
from atst.events.predictions import audacity_file, raven_file
from atst.events.recordings import Recordings


def table(*rows, several=False):
    names = ("path", "start", "end", *(("labels", "scores") if several else ("label", "score")))
    return pa.Table.from_pylist([dict(zip(names, row, strict=True)) for row in rows])


def read_back(audio, path):
    found = collect([path], Options(min_confidence=0), Recordings([audio], beside_first=False))
    assert not found.refused, found.refused
    return [(e.path.name, e.start, e.end, e.label, e.confidence) for e in found.events]


def test_a_selection_table_of_several_recordings(audio, tmp_path):
    out = tmp_path / "out.selections.txt"
    first, second = str(audio / "a.wav"), str(audio / "c.flac")
    parts = [
        table((first, 0.0, 30.0, "owl", 0.75), (first, 30.0, 60.0, None, 0.2)),
        table((second, 0.0, 6.0, "owl", 0.5), (second, 6.0, 10.0, "sea; waves", 0.9)),
    ]
    with raven_file(out, parts[0].schema, "") as write:
        for part in parts:
            write(part)
    assert read_back(audio, out) == [
        ("a.wav", 0.0, 30.0, "owl", 0.75),
        ("c.flac", 0.0, 6.0, "owl", 0.5),
        ("c.flac", 6.0, 10.0, "sea; waves", 0.9),
    ]
    assert [line.split("\t")[3] for line in out.read_text().splitlines()[1:]] == ["0.0", "60.0", "66.0"]


def test_several_labels_are_several_rows(audio, tmp_path):
    out = tmp_path / "a.labels.txt"
    rows = table(
        (str(audio / "a.wav"), 0.0, 3.0, ["owl", "cat"], [0.75, 0.5]),
        (str(audio / "a.wav"), 3.0, 6.0, [], []),
        several=True,
    )
    with audacity_file(out, rows.schema, "") as write:
        write(rows)
    assert read_back(audio, out) == [("a.wav", 0, 3, "owl", 0.75), ("a.wav", 0, 3, "cat", 0.5)]


def test_a_label_track_of_two_recordings_is_refused(tmp_path):
    rows = table(("a.wav", 0.0, 3.0, "owl", 0.75), ("b.wav", 0.0, 3.0, "owl", 0.75))
    with (
        pytest.raises(UsageError, match=r"selections\.txt"),
        audacity_file(tmp_path / "x", rows.schema, "") as write,
    ):
        write(rows)
