"""What `atst embed` wrote is opened as a library, and what is none is refused in a line."""

import json
import os

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from made import ABOUT, write

import atst
from atst import Library, UsageError

RNG = np.random.default_rng(0)
VECTORS = RNG.normal(3, 2, (25, 6)).astype(np.float32)


@pytest.fixture(scope="module", params=["parquet", "npz"])
def embedded(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("sounds")
    for i, seconds in enumerate((1, 70, 2)):
        soundfile.write(folder / f"{i}.wav", RNG.normal(0, 0.1, seconds * 8000), 8000)
    out = folder / f"x.{request.param}"
    atst.embed([folder], model="logmel", out=out, quiet=True)
    return folder, out


def test_opens_what_embed_wrote(embedded):
    folder, out = embedded
    library = Library(out)
    assert len(library) == 4
    assert library.paths == [str(folder / f"{i}.wav") for i in (0, 1, 1, 2)]
    assert library.starts.tolist() == [0, 0, 60, 0]
    assert library.ends.tolist() == [1, 60, 70, 2]
    assert library.metadata["model"] == "logmel"
    assert library.columns == ["partial"]
    assert library.column("partial") == [False] * 4
    expected = atst.load("logmel").embed(folder / "2.wav")
    np.testing.assert_allclose(library.vectors([3])[0], expected, atol=1e-5)
    assert library.locate(2) == folder / "1.wav"


def test_vectors_come_by_row_group_and_together(tmp_path):
    library = Library(write(tmp_path / "x.parquet", VECTORS, group=10))
    parts = list(library.features())
    assert [len(part) for part in parts] == [10, 10, 5]
    np.testing.assert_array_equal(np.concatenate(parts), VECTORS)
    np.testing.assert_array_equal(library.matrix(), VECTORS)
    np.testing.assert_array_equal(library.vectors([21])[0], VECTORS[21])


def test_a_folder_is_one_library(tmp_path):
    write(tmp_path / "a.parquet", VECTORS[:10], group=4)
    write(tmp_path / "b.parquet", VECTORS[10:], [f"b{i}.wav" for i in range(15)], label=["x"] * 15)
    library = Library(tmp_path)
    np.testing.assert_array_equal(library.matrix(), VECTORS)
    np.testing.assert_array_equal(library.vectors([10])[0], VECTORS[10])
    assert library.paths[9:11] == ["9.wav", "b0.wav"]
    assert library.columns == []
    np.testing.assert_allclose(library.mean, VECTORS.mean(0), atol=1e-5)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 40), st.integers(1, 12), st.floats(0, 1e4), st.integers(0, 9))
def test_mean_and_deviation_equal_those_of_the_matrix(tmp_path_factory, rows, group, offset, seed):
    vectors = np.random.default_rng(seed).normal(offset, 1, (rows, 3)).astype(np.float32)
    vectors[:, 1] = offset
    library = Library(write(tmp_path_factory.mktemp("s") / "x.parquet", vectors, group=group))
    std = vectors.astype(float).std(0)
    np.testing.assert_allclose(library.mean, vectors.astype(float).mean(0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(library.std[0], std[0] if rows > 1 else 1, rtol=1e-3)
    assert library.std[1] == 1


def test_statistics_are_kept_until_the_library_changes(tmp_path, monkeypatch):
    path = write(tmp_path / "x.parquet", VECTORS)
    first = Library(path).mean
    with monkeypatch.context() as patch:
        patch.setattr("atst.library.embedding_file.EmbeddingFile.features", None)  # not read again
        np.testing.assert_array_equal(Library(path).mean, first)
    write(path, VECTORS + 1)
    np.testing.assert_allclose(Library(path).mean, first + 1, rtol=1e-5)
    next(tmp_path.glob(".*")).write_bytes(b"PK damaged")
    np.testing.assert_allclose(Library(path).mean, first + 1, rtol=1e-5)


def test_recordings_that_moved_are_found_below_root(tmp_path):
    stored = ["/old/place/in/a.wav", "../in/b.wav", "C:\\sounds\\in\\c.wav", "/old/gone.wav"]
    new = tmp_path / "new" / "in"
    new.mkdir(parents=True)
    for name in "abc":
        (new / f"{name}.wav").touch()
    (tmp_path / "new" / "a.wav").touch()  # a shorter end of the path: not taken
    library = Library(write(tmp_path / "x.parquet", VECTORS[:4], stored), root=tmp_path / "new")
    assert [library.locate(i) for i in range(3)] == [new / "a.wav", new / "b.wav", new / "c.wav"]
    assert library.locate(3) is None
    assert library.missing == ["/old/gone.wav"]


def test_recordings_beside_the_library_and_with_odd_names(tmp_path):
    odd = os.fsdecode(b"b\xe9.wav")
    for name in ("a.wav", odd):
        (tmp_path / name).touch()
    library = Library(write(tmp_path / "x.parquet", VECTORS[:4], ["a.wav", "b\ufffd.wav", "n" * 5000, "\0"]))
    assert [library.locate(i) for i in range(4)] == [tmp_path / "a.wav", tmp_path / odd, None, None]


def test_seconds_that_are_missing_are_not_a_number(tmp_path):
    path = write(tmp_path / "x.parquet", VECTORS[:2])
    table = pq.read_table(path).set_column(1, "start", pa.array([None, 1.5])).drop_columns("end")
    pq.write_table(table, path)
    library = Library(path)
    np.testing.assert_array_equal(library.starts, [np.nan, 1.5])
    assert np.isnan(library.ends).all()


def lists(vectors):
    return pa.array([list(map(float, vector)) for vector in vectors])


BAD = {
    "no metadata": ({"path": ["a"], "embedding": lists([[1]])}, None, "no metadata of `atst embed`"),
    "other metadata": ({"path": ["a"], "embedding": lists([[1]])}, "[1", "no metadata of `atst embed`"),
    "no path": ({"embedding": lists([[1]])}, ABOUT, "no column path"),
    "no embedding": ({"path": ["a"]}, ABOUT, "no column embedding"),
    "not lists": ({"path": ["a"], "embedding": ["b"]}, ABOUT, "not lists of numbers"),
    "rows of other sizes": (
        {"path": ["a", "b"], "embedding": lists([[1, 2], [1, 2, 3]])},
        ABOUT,
        "rows of different sizes",
    ),
    "a row without": (
        {"path": ["a", "b"], "embedding": pa.array([[1.0], None])},
        ABOUT,
        "a row without its embedding",
    ),
    "not finite": ({"path": ["a"], "embedding": lists([[np.inf]])}, ABOUT, "not finite"),
    "empty": ({"path": pa.array([], pa.string()), "embedding": lists([[1]])[:0]}, ABOUT, "an empty library"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_library_is_refused_in_a_line(name, tmp_path):
    columns, about, message = BAD[name]
    text = about if isinstance(about, str) else json.dumps(about)
    table = pa.table(columns).replace_schema_metadata(None if about is None else {"atst": text})
    pq.write_table(table, tmp_path / "x.parquet")
    with pytest.raises(UsageError, match=message) as caught:
        Library(tmp_path / "x.parquet").matrix()
    assert str(tmp_path / "x.parquet") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_that_are_no_libraries(tmp_path):
    with pytest.raises(UsageError, match="no such file"):
        Library(tmp_path / "none.parquet")
    with pytest.raises(UsageError, match=r"no \.parquet or \.npz file in this folder"):
        Library(tmp_path)
    for name in ("a.parquet", "a.npz"):
        (tmp_path / name).write_bytes(b"text")
        with pytest.raises(UsageError, match="cannot be read as embeddings"):
            Library(tmp_path / name)
    (tmp_path / "a.csv").touch()
    with pytest.raises(UsageError, match="a library is a"):
        Library(tmp_path / "a.csv")


def test_files_of_a_folder_must_belong_together(tmp_path):
    write(tmp_path / "a.parquet", VECTORS)
    write(tmp_path / "b.parquet", VECTORS, about=ABOUT | {"fingerprint": "g"})
    with pytest.raises(UsageError, match="fingerprint is g, but f"):
        Library(tmp_path)
    write(tmp_path / "b.parquet", VECTORS[:, :5])
    with pytest.raises(UsageError, match="rows of 5 features, but 6"):
        Library(tmp_path)
