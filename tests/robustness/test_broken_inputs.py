"""Every input of a folder of broken ones is in the output or listed, in every command."""

import csv
import os
import sys

import broken
import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile

import atst
from atst.corpus import open_corpus
from atst.output.skipped import PARTLY
from atst.output.text import path_text
from atst.sound.walk import has_audio_name

KEYS = ["batch_size=2", "segment_seconds=0.3", "min_seconds=0.2", "max_steps=2", "warmup_steps=1"]
KEYS += ["precision=float32"]
TUNE = ["batch_size=4", "max_epochs=1", "warmup_epochs=0", "precision=float32", "workers=0"]
ALL = pytest.mark.parametrize("inputs", [pytest.param(1, marks=pytest.mark.full)], indirect=True)
LONGEST = 600  # s, for --max-duration


@pytest.fixture(scope="module")
def inputs(request, tmp_path_factory):
    """The inputs and what a command is given to find them all."""
    folder = tmp_path_factory.mktemp("broken") / "in"
    files = broken.make(folder, getattr(request, "param", broken.SAMPLE))
    return files, [folder, *[file for file in files if not has_audio_name(file.name)]]


def listed(path):
    with path.open(newline="", encoding="utf-8") as file:
        return {row["path"]: row["reason"] for row in csv.DictReader(file)}


def assert_none_is_lost(files, done, errors):
    """`done` and `errors` name each file once, but those read partly are in both."""
    names = {path_text(file) for file in files}
    left = {path for path, reason in errors.items() if not reason.startswith(PARTLY)}
    assert names - done - left == set(), "lost"
    assert done & left == set()
    assert all(reason.strip() and "\n" not in reason for reason in errors.values())
    return left


def embedded(inputs, tmp_path, **options):
    files, sources = inputs
    out = tmp_path / "x.parquet"
    with pytest.raises(atst.AudioError, match=f"of {len(files)} recordings done"):
        atst.embed(sources, model="logmel", out=out, quiet=True, max_duration=LONGEST, **options)
    table = pq.read_table(out)
    assert np.isfinite(np.stack(table["embedding"].to_numpy())).all()
    return assert_none_is_lost(
        files, set(table["path"].to_pylist()), listed(tmp_path / "x.parquet.errors.csv")
    )


def test_embed(inputs, tmp_path):
    left = {path.rsplit("/", 1)[-1].split("-")[0].split(".")[0] for path in embedded(inputs, tmp_path)}
    assert left >= {"empty", "text", "zeros", "pipe", "socket", "link", "values", "header", "rate"}
    assert not left & {"good", "name", "samples", "silence", "channels", "bytes"}


@ALL
@pytest.mark.parametrize("partial", [False, True])
def test_embed_all(inputs, tmp_path, partial):
    assert len(inputs[0]) >= 250
    embedded(inputs, tmp_path, partial=partial)


@ALL
def test_pack_check_and_predict(inputs, tmp_path):
    files, sources = inputs
    with pytest.raises(atst.AudioError, match=f"of {len(files)} recordings done"):
        atst.pack(sources, out=tmp_path / "corpus", quiet=True, partial=True, max_duration=LONGEST)
    packed = pq.read_table(tmp_path / "corpus" / "index.parquet")["path"].to_pylist()
    done = {path_text(sources[0] / path) for path in packed}
    assert_none_is_lost(files, done, listed(tmp_path / "corpus" / "errors.csv"))
    with pytest.raises(atst.AudioError, match="files done"):
        atst.check(sources, out=tmp_path / "check.csv", quiet=True)
    with (tmp_path / "check.csv").open(newline="", encoding="utf-8") as file:
        assert {row["path"] for row in csv.DictReader(file)} == {path_text(file) for file in files}
    atst.probe(labelled(tmp_path, []), model="logmel", out=tmp_path / "probe", cache=False, quiet=True)
    out = tmp_path / "p.csv"
    with pytest.raises(atst.AudioError, match=f"of {len(files)} recordings done"):
        atst.predict(sources, model=tmp_path / "probe", out=out, quiet=True, max_duration=LONGEST)
    with out.open(newline="", encoding="utf-8") as file:
        done = {row["path"] for row in csv.DictReader(file)}
    assert_none_is_lost(files, done, listed(tmp_path / "p.csv.errors.csv"))


@ALL
def test_pretrain(inputs, tmp_path):
    files, sources = inputs
    options = {"recipe": "nano", "overrides": KEYS, "workers": 0, "device": "cpu", "quiet": True}
    run = atst.pretrain(sources, out=tmp_path / "run", max_duration=LONGEST, **options)
    assert run.steps == 2
    corpus = open_corpus(sources, 10.0, 0.2, max_duration=LONGEST)
    done = {path_text(corpus.path(index)) for index in range(len(corpus))}
    errors = {path_text(path): path_text(reason) for path, reason in corpus.skipped}
    assert_none_is_lost(files, done, errors)
    assert errors.keys() <= listed(tmp_path / "run" / "errors.csv").keys()


@ALL
def test_probe_and_finetune(inputs, tmp_path):
    files = [
        f for f in inputs[0] if f.is_file() and os.access(f, os.R_OK) and is_text(f)
    ]  # rows of the table
    table = labelled(tmp_path, files)
    probed = atst.probe(table, model="logmel", out=tmp_path / "probe", cache=False, quiet=True)
    tuned = atst.finetune(
        table, model="random:nano", out=tmp_path / "tuned", overrides=TUNE, device="cpu", quiet=True
    )
    assert len(probed.skipped) + probed.clips == len(files) + 8
    assert len(tuned.skipped) + tuned.clips == len(files) + 8
    assert len(listed(tmp_path / "probe" / "errors.csv")) >= len(probed.skipped)


def labelled(folder, files):
    """A table of labels with eight good recordings in three splits, and these files to train on."""
    for i in range(8):
        soundfile.write(folder / f"{i}.wav", broken.sweep(16000, 1.0) * (0.1 + 0.1 * i), 16000)
    with (folder / "meta.csv").open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        rows = csv.writer(file)
        rows.writerow(["path", "label", "split"])
        parts = ["train", "train", "valid", "valid", "test", "test", "train", "train"]
        rows.writerows([f"{i}.wav", "ab"[i % 2], part] for i, part in enumerate(parts))
        rows.writerows([str(path), "a", "train"] for path in files if is_text(path))
    return folder / "meta.csv"


def is_text(path):
    """Whether a table in UTF-8 can name it as it is: cells are stripped."""
    return path_text(path) == str(path) == str(path).strip()


@pytest.mark.skipif(sys.platform == "win32", reason="no such names")
def test_a_file_that_vanishes(tmp_path, monkeypatch):
    """Between the search and the reading."""
    from atst.commands import embed as command

    for name in "abc":
        soundfile.write(tmp_path / f"{name}.wav", broken.sweep(16000, 1.0), 16000)
    found = command.find_audio

    def vanish(sources, **how):
        result = found(sources, **how)
        (tmp_path / "b.wav").unlink()
        return result

    monkeypatch.setattr(sys.modules["atst.commands.embed"], "find_audio", vanish)
    with pytest.raises(atst.AudioError, match="2 of 3 recordings done, 1 skipped"):
        atst.embed([tmp_path], model="logmel", out=tmp_path / "x.parquet", quiet=True)
    assert "no such file" in listed(tmp_path / "x.parquet.errors.csv")[str(tmp_path / "b.wav")]


@pytest.mark.full
def test_a_folder_of_100000_entries(tmp_path):
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(100_000):
        (folder / f"{number}.wav").touch()
    soundfile.write(folder / "good.wav", broken.sweep(16000, 1.0), 16000)
    corpus = open_corpus([folder])
    assert (len(corpus), len(corpus.skipped)) == (1, 100_000)
