"""`atst explore`: the page's size and text, columns, and Spotlight as a process (a stand-in)."""

import json
import os
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
import torch

import atst
from atst.errors import AudioError, ModelError, UsageError
from atst.model.classifier import Classifier, Head
from atst.model.load import load

ABOUT = {"model": "logmel", "fingerprint": "f", "frames": False, "layers": 1, "pooling": "mean"}


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """30 recordings with times of day in their names, in two folders, in two groups."""
    rng, paths = np.random.default_rng(0), []
    vectors = rng.normal(size=(30, 6)).astype(np.float32)
    vectors[:15] += 8
    for i in range(30):
        path = tmp_path / "sounds" / "ab"[i % 2] / f"rec_20240501_{i % 24:02}3000.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        path = path.with_stem(f"{path.stem}_{i}")
        soundfile.write(path, rng.normal(0, 0.1, 32000), 16000)
        paths.append(str(path))
    embedding = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), 6)
    columns = {"path": paths, "start": np.full(30, 0.5), "end": np.full(30, 1.5), "embedding": embedding}
    metadata = {"atst": json.dumps(ABOUT)}
    pq.write_table(pa.table(columns).replace_schema_metadata(metadata), tmp_path / "lib.parquet")
    return tmp_path / "lib.parquet"


def data(page: Path) -> dict:
    """What the page holds."""
    return json.loads(re.search(r'id="data">(.*?)</script>', page.read_text(), re.S)[1])


def columns(page: Path) -> dict:
    return {column["name"]: column for column in data(page)["columns"]}


def test_the_page_holds_what_it_needs(library, tmp_path, capsys):
    atst.explore(library, html=tmp_path / "map.html", map="pca")
    assert "30 points" in capsys.readouterr().err
    held = data(tmp_path / "map.html")
    assert (held["total"], held["method"], len(held["sounds"])) == (30, "PCA", 30)
    assert np.array(held["points"]).min() == 0
    assert held["links"][0] == "./sounds/a/rec_20240501_003000_0.wav"
    assert all(len(near) == 10 and own not in near for own, near in enumerate(held["neighbours"]))
    assert {own < 15 for own in held["neighbours"][3]} == {True}
    found = columns(tmp_path / "map.html")
    assert list(found) == ["folder", "time of day (h)", "cluster", "outlier score"]
    assert found["time of day (h)"]["numbers"][4] == pytest.approx(4.5 + 0.5 / 3600, abs=1e-4)
    assert len(set(found["cluster"]["codes"][:15]) - {None}) == 1
    assert found["folder"]["categories"] == [f"{tmp_path}/sounds/a", f"{tmp_path}/sounds/b"]


def test_sounds_take_about_as_much_as_is_allowed(library, tmp_path):
    sizes, counts = [], []
    for megabytes in (10, 0.1, 0.04, 0):
        atst.explore(library, html=tmp_path / "map.html", map="pca", megabytes=megabytes, quiet=True)
        sounds = [sound for sound in data(tmp_path / "map.html")["sounds"] if sound]
        sizes.append(sum(map(len, sounds)) / 1e6)
        counts.append(len(sounds))
    assert counts[0] == counts[1] == 30
    assert 0 < counts[2] < 30
    assert counts[3] == 0
    assert sizes[0] > sizes[1] > sizes[2]
    assert 0.02 < sizes[1] < 0.15


def test_labels_of_a_table_are_a_column(library, tmp_path):
    path = pq.read_table(library)["path"][7].as_py()
    (tmp_path / "meta.csv").write_text(f"path,label,start,end\n{path},</script>,0.5,1.5\n{path},x,0,1\n")
    atst.explore(library, html=tmp_path / "map.html", labels=tmp_path / "meta.csv", map="pca", quiet=True)
    label = columns(tmp_path / "map.html")["label"]
    assert label["categories"] == ["</script>"]
    assert [i for i, code in enumerate(label["codes"]) if code is not None] == [7]


def test_what_cannot_be_heard_is_listed(library, tmp_path, capsys):
    paths = pq.read_table(library)["path"].to_pylist()
    Path(paths[0]).unlink()
    atst.explore(library, html=tmp_path / "map.html", map="pca")
    assert f"not on this disk: 1 ({paths[0]})" in capsys.readouterr().err
    Path(paths[1]).write_bytes(b"no sound")
    with pytest.raises(AudioError, match="29 of 30"):
        atst.explore(library, html=tmp_path / "map.html", map="pca", quiet=True)
    assert paths[1] in (tmp_path / "map.html.errors.csv").read_text()
    assert data(tmp_path / "map.html")["sounds"][:2] == [None, None]


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program `spotlight` that keeps its arguments and the file that it was given."""
    program = tmp_path / "bin" / "spotlight"
    program.parent.mkdir()
    program.write_text(
        f'#!/bin/sh\ncp "$1" {tmp_path}/seen.parquet\necho "$@" > {tmp_path}/arguments\nexit $CODE\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("CODE", "0")
    return program


def test_spotlight_gets_its_columns(library, tmp_path, stand_in, monkeypatch):
    monkeypatch.setenv("PATH", f"{stand_in.parent}{os.pathsep}{os.environ['PATH']}")
    atst.explore(library, map="pca", quiet=True)
    seen = pq.read_table(tmp_path / "seen.parquet")
    assert seen.column_names == [
        *("name", "path", "folder", "time_of_day_h", "cluster", "outlier_score"),
        *("nearest_neighbours", "stretch", "map", "embedding"),
    ]
    assert len(seen) == 30
    assert Path(seen["path"][0].as_py()).is_file()
    assert seen["stretch"][0].as_py() == [0.5, 1.5]
    assert (
        "--dtype name=str --dtype path=audio --dtype embedding=Embedding"
        in (tmp_path / "arguments").read_text()
    )
    monkeypatch.setenv("CODE", "3")
    with pytest.raises(atst.AtstError, match="ended with exit code 3"):
        atst.explore(library, spotlight=stand_in, map="pca", quiet=True)


def test_without_spotlight_it_says_how_to_get_it(library, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match=r"no program 'spotlight' on PATH; .*pip install renumics-spotlight"):
        atst.explore(library)
    with pytest.raises(UsageError, match=r"--spotlight nowhere: no such program"):
        atst.explore(library, spotlight="nowhere")


def test_wrong_usage(library, tmp_path):
    for options, message in (
        ({"html": "map.csv"}, "must end in .html"),
        ({"html": "map.html", "megabytes": -1}, "--megabytes must be 0 or more"),
        ({"html": "map.html", "labels": tmp_path / "no.csv"}, "no such file"),
    ):
        with pytest.raises(UsageError, match=message):
            atst.explore(library, **options)


def test_two_rows_are_no_map(library, tmp_path):
    pq.write_table(pq.read_table(library).slice(0, 2), tmp_path / "two.parquet")
    with pytest.raises(UsageError, match="2 rows; a map takes three or more"):
        atst.explore(tmp_path / "two.parquet", html=tmp_path / "map.html")


def test_a_classifier_of_other_features_is_refused(library, tmp_path):
    head = Head([(torch.zeros(2, 6), torch.zeros(2))])
    features = {"layers": 1, "pooling": "mean", "clip_seconds": None}
    Classifier(load("logmel"), head, ["a", "b"], False, features).save(tmp_path / "judge", "t", "t")
    with pytest.raises(ModelError, match="judges other features"):
        atst.explore(library, html=tmp_path / "map.html", classifier=tmp_path / "judge", quiet=True)
