"""The table of labels: splits, what it keeps of a table that was there, hostile names."""

import csv
from pathlib import Path

import pytest

from atst.errors import UsageError
from atst.library.label_table import LabelTable
from atst.tasks import load_task

HOSTILE = ["a,b", 'quo"te', "<b>&lt;", "two\nlines", "it's", "=1+1", "ünïcode", ";semi"]


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_a_fifth_of_each_class_is_held_back(tmp_path):
    table = LabelTable(tmp_path / "meta.csv")
    for i in range(40):
        table.add(tmp_path / f"{i}.wav", 0, 1, ["rare" if i % 4 == 0 else "often"])
    for name, expected in (("rare", 2), ("often", 6)):
        assert sum(row.held_back for row in table.rows if row.labels == [name]) == expected


def test_doubtful_ones_are_held_back_only_where_many_are_lacking(tmp_path):
    table = LabelTable(tmp_path / "meta.csv")
    doubtful = [table.add(tmp_path / f"{i}.wav", 0, 1, ["a"], typical=False) for i in range(9)]
    assert not any(label.held_back for label in doubtful)
    assert table.add(tmp_path / "typical.wav", 0, 1, ["a"]).held_back


def test_a_recording_stays_whole(tmp_path):
    table = LabelTable(tmp_path / "meta.csv")
    for i in range(60):
        table.add(tmp_path / f"{i % 12}.wav", i, i + 1, ["ab"[i % 2]])
    parts: dict[str, set[str]] = {}
    for row in rows(tmp_path / "meta.csv"):
        parts.setdefault(row["path"], set()).add(row["split"])
    assert all(len(splits) == 1 for splits in parts.values())
    assert {"train", "test"} == set.union(*parts.values())


def test_it_goes_on_where_it_was_and_keeps_other_columns(tmp_path):
    path = tmp_path / "meta.csv"
    path.write_text("who,path,label\nme,a.wav,x\nyou,b.wav,y\n")
    table = LabelTable(path)
    added = table.add(tmp_path / "c.wav", 0.5, 2, ["x"])
    assert [row["who"] for row in rows(path)] == ["me", "you", ""]
    assert rows(path)[2] | {"who": ""} == {
        "who": "",
        "path": "c.wav",
        "label": "x",
        "start": "0.500000",
        "end": "2.000000",
        "split": "train",
    }
    again = LabelTable(path)
    assert again.classes == ["x", "y"]
    assert again.find(added.file, 0.5, 2).labels == ["x"]
    assert again.find(added.file, 0.5, 3) is None
    table.remove(added)
    assert len(rows(path)) == 2


def test_several_labels_or_none(tmp_path):
    table = LabelTable(tmp_path / "meta.csv", multi_label=True)
    table.add(tmp_path / "a.wav", 0, 1, ["x", "y"])
    table.add(tmp_path / "b.wav", 0, 1, [])
    again = LabelTable(tmp_path / "meta.csv")
    assert again.multi_label
    assert [row.labels for row in again.rows] == [["x", "y"], []]


def test_names_may_hold_anything(tmp_path):
    table = LabelTable(tmp_path / "meta.csv")
    names = [*HOSTILE, *[f"{i}" for i in range(8)]]
    for i, name in enumerate(names):
        (tmp_path / f"{name}.wav").touch()
        table.add(tmp_path / f"{name}.wav", 0, 1, [HOSTILE[i % 7]])
    again = LabelTable(tmp_path / "meta.csv")
    assert [Path(row.file).name for row in again.rows] == [f"{name}.wav" for name in names]
    assert [row.labels for row in again.rows] == [row.labels for row in table.rows]


def test_a_probe_takes_it_as_it_is(tmp_path, tones):
    table = LabelTable(tmp_path / "labels" / "meta.csv")
    for path in tones:
        table.add(path, 0.0, 1.0, [path.name.split("_")[0]])
    task = load_task(tmp_path / "labels" / "meta.csv")
    assert task.label_names == ["high", "low"]
    assert [(task.splits == name).sum() for name in ("train", "test")] == [20, 4]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n", "needs columns 'path' and 'label'"),
        ("path,label,split\nx,y,tset\n", "row 1: unknown split 'tset'"),
        ("path,label,start,end\nx,y,one,2\n", "row 1: start and end must be seconds"),
        ("path,label\nx,y,z\n", "more cells than the header"),
        (b"path,label\n\xff,y\n", "not a CSV file in UTF-8"),
    ],
)
def test_other_tables_are_refused(tmp_path, text, message):
    path = tmp_path / "meta.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UsageError, match=message):
        LabelTable(path)
    assert path.read_bytes() == (text if isinstance(text, bytes) else text.encode())


def test_one_label_a_row_is_not_made_several(tmp_path):
    (tmp_path / "meta.csv").write_text("path,label\nx,y\n")
    with pytest.raises(UsageError, match="call it 'labels'"):
        LabelTable(tmp_path / "meta.csv", multi_label=True)
