"""`--max-duration`: recordings that are longer, or claim to be, are listed and the others done."""

import csv
import struct

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile

import atst
from atst.errors import AudioError, CorpusError, UsageError

REASON = "longer than --max-duration 2 s"
KEYS = ["batch_size=2", "segment_seconds=0.3", "min_seconds=0.2", "max_steps=1", "warmup_steps=1"]


@pytest.fixture
def sounds(tmp_path):
    """Two recordings of 1 s, one of 3 s and one that claims 10 hours."""
    folder = tmp_path / "sounds"
    folder.mkdir()
    for name, seconds in (("a", 1), ("b", 1), ("long", 3)):
        noise = np.random.default_rng(seconds).normal(0, 0.1, 16000 * seconds)
        soundfile.write(folder / f"{name}.wav", noise, 16000)
    content = bytearray((folder / "a.wav").read_bytes())
    at = content.index(b"data")
    content[at + 4 : at + 8] = struct.pack("<I", 36000 * 32000)
    (folder / "claims.wav").write_bytes(content)
    return folder


def listed(path):
    with path.open(newline="") as file:
        return {row["path"].rsplit("/", 1)[-1]: row["reason"] for row in csv.DictReader(file)}


def test_embed_and_pack(sounds, tmp_path):
    out = tmp_path / "x.parquet"
    with pytest.raises(AudioError, match=r"2 of 4 recordings done, 2 skipped \(2 longer than --max-duration"):
        atst.embed([sounds], model="logmel", out=out, partial=True, max_duration=2)
    assert [path.rsplit("/", 1)[-1] for path in pq.read_table(out)["path"].to_pylist()] == ["a.wav", "b.wav"]
    found = listed(tmp_path / "x.parquet.errors.csv")
    assert list(found) == ["claims.wav", "long.wav"]
    assert all(REASON in reason for reason in found.values())
    with pytest.raises(AudioError, match="2 of 4"):
        atst.pack([sounds], out=tmp_path / "corpus", partial=True, max_duration=2)
    assert listed(tmp_path / "corpus" / "errors.csv") == found


def test_a_corpus_of_files(sounds):
    corpus = atst.corpus.open_corpus([sounds], max_duration=2)
    assert [(path.rsplit("/", 1)[-1], REASON in reason) for path, reason in corpus.skipped] == [
        ("long.wav", True)
    ]
    assert len(corpus) == 3


@pytest.mark.full
def test_pretrain_leaves_them_out(sounds, tmp_path):
    """Three clips are left, fewer than the whitening of a convolutional encoder is fitted by."""
    options = {"recipe": "nano", "overrides": KEYS, "workers": 0, "device": "cpu"}
    run = atst.pretrain([sounds], out=tmp_path / "run", max_duration=2, **options)
    assert run.steps == 1
    assert REASON in listed(tmp_path / "run" / "errors.csv")["long.wav"]
    assert atst.load(tmp_path / "run").embed(sounds / "a.wav").ndim == 1


def test_a_packed_corpus(sounds, tmp_path):
    corpus = tmp_path / "corpus"
    atst.pack([sounds / "a.wav", sounds / "long.wav"], out=corpus)
    with pytest.raises(AudioError, match="1 of 2 recordings done"):
        atst.embed([corpus], model="logmel", out=tmp_path / "x.parquet", max_duration=2)
    assert REASON in listed(tmp_path / "x.parquet.errors.csv")["long.wav"]
    with pytest.raises(CorpusError, match="at most max_duration"):
        atst.corpus.open_corpus([corpus], max_duration=0.6)


def test_a_stretch_counts_by_its_own_length(sounds, tmp_path):
    (tmp_path / "m.csv").write_text("path,start,end\nsounds/long.wav,1,2\n")
    atst.embed([tmp_path / "m.csv"], model="logmel", out=tmp_path / "x.parquet", max_duration=2)
    assert len(pq.read_table(tmp_path / "x.parquet")) == 1


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf")])
def test_a_limit_that_is_none(sounds, tmp_path, seconds):
    with pytest.raises(UsageError, match="--max-duration must be more than 0"):
        atst.embed([sounds], model="logmel", out=tmp_path / "x.parquet", max_duration=seconds)
