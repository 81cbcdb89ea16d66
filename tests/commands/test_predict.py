"""`atst predict`: which rows stand in the files, in which order, and what happens to bad input."""

import csv
import importlib
import io
import json
import subprocess
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
import torch
from safetensors.torch import save_file

import atst
from atst import cli

predict_module = importlib.import_module("atst.commands.predict")
LABELS = ["bark", "rain", "sea; waves"]


@pytest.fixture(scope="module")
def sounds(tmp_path_factory):
    """Recordings of 7, 1 and 70 s."""
    folder = tmp_path_factory.mktemp("sounds")
    noise = np.random.default_rng(0)
    for name, seconds in (("a", 7), ("b", 1), ("long", 70)):
        loudness = 0.02 + 0.1 * np.abs(np.sin(np.arange(seconds * 16000) / 9000))
        soundfile.write(folder / f"{name}.wav", noise.normal(0, loudness), 16000)
    return folder


def save_classifier(folder, multi_label=False, clip_seconds=12.0):
    """A classifier by log-mel statistics with drawn weights."""
    folder.mkdir()
    draw = torch.Generator().manual_seed(3)
    head = {"weight": torch.randn(3, 128, generator=draw), "bias": torch.zeros(3)}
    save_file(head, folder / "head.safetensors")
    features = {"layers": 1, "pooling": "published", "clip_seconds": clip_seconds}
    about = {"labels": LABELS, "multi_label": multi_label, "model": "logmel", "features": features}
    (folder / "labels.json").write_text(json.dumps(about | {"temperature": 2.0}))
    return folder


@pytest.fixture(scope="module")
def single(tmp_path_factory):
    return save_classifier(tmp_path_factory.mktemp("single") / "model")


@pytest.fixture(scope="module")
def multi(tmp_path_factory):
    return save_classifier(tmp_path_factory.mktemp("multi") / "model", multi_label=True)


def rows(path):
    """The rows of any format, as JSON Lines would have them."""
    if path.suffix == ".parquet":
        return pq.read_table(path).to_pylist()
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text().splitlines()]
    with path.open() as stream:
        return [
            {
                name: float(cell) if name in ("start", "end", "score") else cell or None
                for name, cell in row.items()
            }
            for row in csv.DictReader(stream)
        ]


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_one_row_a_recording_in_input_order(sounds, single, tmp_path, suffix):
    files = [sounds / f"{name}.wav" for name in ("long", "b", "a")]
    out = tmp_path / "new" / f"out{suffix}"
    atst.predict(files, model=single.parent, out=out, batch_size=2)
    classifier = atst.load_classifier(single)
    found = rows(out)
    assert [row["path"] for row in found] == list(map(str, files))
    assert [(row["start"], row["end"]) for row in found] == [(0, 70), (0, 1), (0, 7)]
    for row, scores in zip(found, classifier.predict(files), strict=True):
        assert row["label"] == next(iter(scores))
        assert row["score"] == pytest.approx(scores[row["label"]], abs=1e-5)


def test_windows_have_times_and_cover_the_recording(sounds, single, tmp_path):
    atst.predict([sounds], model=single, out=tmp_path / "x.jsonl", window=3, hop=1.5, batch_size=4)
    found = rows(tmp_path / "x.jsonl")
    times = {name: [(r["start"], r["end"]) for r in found if f"{name}.wav" in r["path"]] for name in "ab"}
    assert times["a"] == [(0, 3), (1.5, 4.5), (3, 6), (4.5, 7)]
    assert times["b"] == [(0, 1)]
    long = [row for row in found if "long" in row["path"]]
    assert [row["start"] for row in long] == [1.5 * i for i in range(46)]
    assert long[-1]["end"] == 70
    classifier = atst.load_classifier(single)
    samples = soundfile.read(sounds / "long.wav", dtype="float32")[0]
    for row in (long[0], long[40], long[-1]):
        cut = samples[round(row["start"] * 16000) : round(row["end"] * 16000)]
        scores = classifier.predict(cut, sample_rate=16000)
        assert row["score"] == pytest.approx(scores[row["label"]], abs=1e-4)


def test_top_and_threshold(sounds, single, tmp_path):
    out = tmp_path / "x.jsonl"
    atst.predict([sounds / "a.wav"], model=single, out=out, top=2)
    scores = atst.load_classifier(single).predict(sounds / "a.wav")
    [row] = rows(out)
    assert row["labels"] == list(scores)[:2]
    assert row["scores"] == pytest.approx(list(scores.values())[:2], abs=1e-5)
    best = max(scores.values())
    for threshold, label in ((best - 0.001, next(iter(scores))), (min(1, best + 0.001), None)):
        atst.predict([sounds / "a.wav"], model=single, out=out, threshold=threshold)
        assert rows(out)[0]["label"] == label
        assert rows(out)[0]["score"] == pytest.approx(best, abs=1e-5)


@pytest.mark.parametrize(
    ("options", "keep"),
    [
        ({}, lambda s: [x for x in s if x >= 0.5]),
        ({"threshold": 0.0}, lambda s: s),
        ({"top": 2}, lambda s: s[:2]),
        ({"top": 2, "threshold": 1.0}, lambda s: []),
    ],
)
def test_multi_label(sounds, multi, tmp_path, options, keep):
    atst.predict([sounds / "a.wav"], model=multi, out=tmp_path / "x.parquet", **options)
    scores = atst.load_classifier(multi).predict(sounds / "a.wav")
    [row] = rows(tmp_path / "x.parquet")
    assert row["scores"] == pytest.approx(keep(list(scores.values())), abs=1e-5)
    assert row["labels"] == list(scores)[: len(row["scores"])]
    atst.predict([sounds / "a.wav"], model=multi, out=tmp_path / "x.csv", **options)
    assert rows(tmp_path / "x.csv")[0]["labels"] == (";".join(row["labels"]) or None)


def test_about_in_parquet(sounds, single, tmp_path):
    atst.predict([sounds / "b.wav"], model=single, out=tmp_path / "x.parquet", window=1)
    about = json.loads(pq.read_schema(tmp_path / "x.parquet").metadata[b"atst"])
    assert (about["labels"], about["window"], about["hop"]) == (LABELS, 1, 1)


def test_a_bad_recording_is_left_out_and_listed(sounds, single, tmp_path, capsys):
    bad = tmp_path / "bad.wav"
    bad.write_bytes(b"not sound")
    files = [str(sounds / "a.wav"), str(bad), str(sounds / "b.wav")]
    for out in (["--out", str(tmp_path / "x.csv")], []):
        with pytest.raises(SystemExit) as exit:
            cli.main(["predict", *files, "--model", str(single), *out])
        assert exit.value.code == 1
        printed, error = capsys.readouterr()
        assert "2 of 3 recordings done, 1 skipped" in error
        assert str(bad) in error
        text = (tmp_path / "x.csv").read_text() if out else printed
        found = list(csv.DictReader(io.StringIO(text)))
        assert [row["path"] for row in found] == [files[0], files[2]]


def test_a_recording_that_breaks_off(sounds, single, tmp_path):
    """It is left out, or, if that is wanted, read as far as it goes."""
    whole = (sounds / "long.wav").read_bytes()
    cut = tmp_path / "cut.wav"
    cut.write_bytes(whole[: len(whole) * 65 // 70])
    out = tmp_path / "x.jsonl"
    for options in ({"window": 10}, {}):
        with pytest.raises(atst.AudioError, match=r"1 skipped \(1 truncated\)"):
            atst.predict([cut, sounds / "b.wav"], model=single, out=out, **options)
        assert [(row["end"], row["partial"]) for row in rows(out)] == [(1, False)]
    atst.predict([cut, sounds / "b.wav"], model=single, out=out, window=10, partial=True)
    found = [(round(row["end"], 2), row["partial"]) for row in rows(out)]
    assert found == [*((end, True) for end in (10, 20, 30, 40, 50, 60, 65)), (1, False)]
    assert "read partly: truncated" in (tmp_path / "x.jsonl.errors.csv").read_text()
    atst.predict([sounds / "b.wav"], model=single, out=out, window=10, partial=True)
    assert not (tmp_path / "x.jsonl.errors.csv").exists(), "the list is of this output"


def test_nothing_readable_leaves_the_old_file(single, tmp_path):
    bad, out = tmp_path / "bad.wav", tmp_path / "x.csv"
    bad.write_bytes(b"not sound")
    out.write_text("old")
    for target in (out, None):
        with pytest.raises(atst.AudioError, match="none of 1 recordings"):
            atst.predict([bad], model=single, out=target)
    assert out.read_text() == "old"
    assert sorted(tmp_path.iterdir()) == [bad, out]


@pytest.mark.parametrize(
    ("changed", "error", "text"),
    [
        ({"out": "x.npz"}, atst.UsageError, r"\.csv, \.jsonl, \.parquet, \.selections\.txt or labels\.txt"),
        ({"window": 13}, atst.UsageError, "at most 12 s"),
        ({"window": 0}, atst.UsageError, "--window"),
        ({"hop": 1}, atst.UsageError, "--hop needs --window"),
        ({"window": 1, "hop": 2}, atst.UsageError, "--hop must be"),
        ({"window": 1, "hop": 0}, atst.UsageError, "--hop must be"),
        ({"top": 0}, atst.UsageError, "--top"),
        ({"threshold": 1.5}, atst.UsageError, "--threshold"),
        ({"batch_size": 0}, atst.UsageError, "--batch-size"),
        ({"model": "random:nano"}, atst.ModelError, "no such folder"),
    ],
)
def test_what_cannot_be_meant(sounds, single, tmp_path, changed, error, text):
    options = {"model": single, "out": "x.csv"} | changed
    with pytest.raises(error, match=text):
        atst.predict([sounds / "a.wav"], **options | {"out": tmp_path / options["out"]})
    assert list(tmp_path.iterdir()) == []


def test_the_reader_of_the_output_may_stop(sounds, single):
    """As `head` does: no message, and no process is left waiting."""
    command = [
        sys.executable,
        "-m",
        "atst",
        "predict",
        *[str(sounds / "b.wav")] * 1,
        str(sounds),
        "--window",
        "0.1",
    ]
    script = 'exec 2>&1; "$@" | head -n 2; echo "${PIPESTATUS[0]}"'
    done = subprocess.run(
        ["bash", "-c", script, "bash", *command, "--model", str(single), "--quiet"],
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    header, row, code = done.stdout.splitlines()
    assert header.startswith("path,start,end")
    assert "b.wav" in row
    assert code == "141"


def test_a_label_track_of_several_recordings_is_refused_before_work(sounds, tmp_path, monkeypatch):
    monkeypatch.setattr(predict_module, "load_classifier", lambda *_: pytest.fail("work has begun"))
    with pytest.raises(atst.UsageError, match=r"of one recording, not of .*a\.wav and .*b\.wav"):
        atst.predict(sounds, model=tmp_path, out=tmp_path / "x.labels.txt")
