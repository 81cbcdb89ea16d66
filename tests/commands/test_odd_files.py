"""A file that its decoder does not survive costs that file, in every command and in loader processes."""

import csv
import json

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile

import atst
from atst.finetuning.clips import Clips
from atst.sound import isolated

REASONS = ["its decoder crashed", "decoding it took more than", "its decoder failed (MadeUp"]
KEYS = ["batch_size=2", "segment_seconds=0.3", "min_seconds=0.2", "max_steps=3", "warmup_steps=1"]
KEYS += ["sampling=uniform", "precision=float32"]
PRETRAIN = {"recipe": "nano", "overrides": KEYS, "device": "cpu"}
TUNE = ["batch_size=2", "max_epochs=1", "warmup_epochs=0", "precision=float32"]
PARTS = ["train", "train", "valid", "valid", "test", "test", "train", "train"]  # of the good ones
IN_TWO_PLACES = pytest.mark.parametrize("workers", [1, pytest.param(0, marks=pytest.mark.full)])


@pytest.fixture
def folder(odd_decoder):
    """The three odd recordings among eight good ones."""
    noise = np.random.default_rng(0)
    for i in range(8):
        tone = 0.2 * np.sin(np.arange(16000) * (0.1 if i % 2 else 0.4))
        soundfile.write(odd_decoder[0].with_name(f"good{i}.wav"), tone + noise.normal(0, 0.01, 16000), 16000)
    return odd_decoder[0].parent


def meta(folder):
    odd = [f"odd/{path.name},a,train" for path in sorted(folder.glob("*s.wav"))]
    good = [f"odd/good{i}.wav,{'ab'[i % 2]},{part}" for i, part in enumerate(PARTS)]
    table = folder.parent / "meta.csv"
    table.write_text("\n".join(["path,label,split", *odd, *good]) + "\n")
    return table


def reasons(path):
    with path.open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["path", "reason"]
    return {row[0].rsplit("/", 1)[-1].split()[0]: row[1] for row in rows}


def assert_listed(path):
    found = reasons(path)
    assert list(found) == ["ends.wav", "hangs.wav", "raises.wav"]
    assert all(expected in reason for expected, reason in zip(REASONS, found.values(), strict=True))


def test_embed(folder, tmp_path):
    out, line = tmp_path / "x.parquet", r"8 of 11 recordings done, 3 skipped \(1 its decoder crashed, "
    with pytest.raises(atst.AudioError, match=line):
        atst.embed([folder], model="logmel", out=out)
    assert len(pq.read_table(out)) == 8
    assert_listed(tmp_path / "x.parquet.errors.csv")


def test_probe_and_predict(folder, tmp_path, capsys):
    result = atst.probe(meta(folder), model="logmel", out=tmp_path / "probe", cache=False)
    assert result.clips == 8
    assert_listed(tmp_path / "probe" / "errors.csv")
    assert "8 of 11 clips done, 3 skipped" in capsys.readouterr().err
    with pytest.raises(atst.AudioError, match="8 of 11 recordings done"):
        atst.predict([folder], model=tmp_path / "probe", out=tmp_path / "x.csv")
    assert_listed(tmp_path / "x.csv.errors.csv")


@IN_TWO_PLACES
def test_finetune(folder, tmp_path, monkeypatch, workers):
    monkeypatch.setattr(Clips.__init__, "__defaults__", (0,))  # the loader reads it all
    options = {"overrides": [*TUNE, f"workers={workers}"], "device": "cpu"}
    result = atst.finetune(meta(folder), model="random:nano", out=tmp_path / "run", **options)
    assert result.clips == 8
    assert_listed(tmp_path / "run" / "errors.csv")


@pytest.mark.full
@pytest.mark.parametrize("workers", [0, 1])
def test_pretrain(folder, tmp_path, workers, monkeypatch):
    """Headers are read by the same processes: here they are good, and the sound is not."""
    for i in range(3, 8):
        (folder / f"good{i}.wav").unlink()
    only_sound = isolated.START.replace("basename(path)", "basename(path) * bool(how)")
    monkeypatch.setattr(isolated, "START", only_sound)
    run = atst.pretrain([folder], out=tmp_path / "run", workers=workers, **PRETRAIN)
    assert (run.steps, run.unreadable) == (3, 3)
    assert sorted(reasons(tmp_path / "run" / "errors.csv")) == ["ends.wav", "hangs.wav", "raises.wav"]


def test_pretrain_leaves_out_what_has_no_header(folder, tmp_path):
    run = atst.pretrain([folder], out=tmp_path / "run", workers=0, **PRETRAIN)
    assert (run.steps, run.unreadable) == (3, 0)
    assert_listed(tmp_path / "run" / "errors.csv")


def test_recordings_that_were_cut_short(folder, tmp_path):
    for odd in folder.glob("*s.wav"):
        odd.unlink()
    cut = folder / "good0.wav"
    cut.write_bytes(cut.read_bytes()[:20_000])
    table = meta(folder)
    for number, partial in enumerate((False, True)):
        probed = atst.probe(table, model="logmel", out=tmp_path / f"p{number}", partial=partial)
        options = {"overrides": [*TUNE, "workers=0"], "device": "cpu", "partial": partial}
        tuned = atst.finetune(table, model="random:nano", out=tmp_path / f"f{number}", **options)
        for result, out in ((probed, f"p{number}"), (tuned, f"f{number}")):
            assert (len(result.skipped), len(result.partial)) == ((0, 1) if partial else (1, 0))
            stored = json.loads((tmp_path / out / "results.json").read_text())
            assert [clip for clip, _ in stored["partial"]] == (["odd/good0.wav"] if partial else [])
            [reason] = reasons(tmp_path / out / "errors.csv").values()
            assert reason.startswith("read partly: truncated" if partial else "truncated")
    for i in range(3, 8):
        (folder / f"good{i}.wav").unlink()
    run = atst.pretrain([folder], out=tmp_path / "run", workers=0, **PRETRAIN)
    assert (run.unreadable, run.partly) == (0, 1)
