"""The code of docs/embeddings.md for other libraries reads what `atst embed` writes."""

import re
from pathlib import Path

import numpy as np
import pytest
import soundfile

import atst

PAGE = Path(atst.__file__).parents[2] / "docs" / "embeddings.md"


@pytest.fixture
def vectors(tmp_path, monkeypatch):
    """Embeddings of two recordings, in `sounds.parquet` in the current folder."""
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate(("cat.wav", "dog.wav")):
        soundfile.write(name, np.random.default_rng(seed).normal(0, 0.1, 16000), 16000)
    atst.embed(["cat.wav", "dog.wav"], model="logmel", out="sounds.parquet", window=0.5)
    return atst.Library("sounds.parquet").files[0].features(0)


def run(package):
    """The names that the page's code for a package leaves."""
    pytest.importorskip(package)
    (code,) = [c for c in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL) if package in c]
    names = {}
    exec(code, names)
    return names


def test_pandas(vectors):
    means = run("pandas")["by_recording"]
    np.testing.assert_allclose(means["dog.wav"], vectors[2:].mean(0), atol=1e-6)


def test_polars(vectors):
    names = run("polars")
    np.testing.assert_array_equal(names["vectors"], vectors)
    assert names["longest"]["seconds"].to_list() == [0.5, 0.5, 0.5]


def test_duckdb(vectors):
    names = run("duckdb")
    assert names["table"] == [("cat.wav", 2, 1.0), ("dog.wav", 2, 1.0)]
    assert names["near"][0][0] == "dog.wav"
    assert names["near"][0][1] == pytest.approx(1.0, abs=1e-5)
