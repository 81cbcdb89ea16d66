"""A saved classifier from Python: as the probe left it, and what is said of folders without one."""

import csv
import json

import numpy as np
import pytest
import soundfile
from safetensors.torch import load_file, save_file
from tones import tone_files

import atst


@pytest.fixture(scope="module")
def probed(tmp_path_factory):
    """The --out folder of a probe of an untrained encoder on tones, and its table beside it."""
    folder = tmp_path_factory.mktemp("tones")
    table = tone_files(folder, 16)
    # one test clip of 20 s: only its middle 12 s are what the probe judged
    rng = np.random.default_rng(0)
    soundfile.write(folder / "6.wav", rng.normal(0, 0.1, 20 * 16000), 16000)
    atst.probe(table, model="random:nano", out=folder / "out", device="cpu", cache=False)
    return folder / "out"


def test_scores_are_those_of_the_probes_test_clips(probed):
    classifier = atst.load_classifier(probed)
    with (probed / "predictions.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["path"] for row in rows] == ["6.wav", "7.wav", "14.wav", "15.wav"]
    found = classifier.predict([probed.parent / row["path"] for row in rows])
    for row, scores in zip(rows, found, strict=True):
        assert next(iter(scores)) == row["prediction"]
        assert scores[row["prediction"]] == pytest.approx(float(row["score"]), abs=1e-4)
        assert sum(scores.values()) == pytest.approx(1)


def test_the_model_folder_and_arrays_do_as_well(probed):
    classifier = atst.load_classifier(probed / "model")
    path = probed.parent / "6.wav"
    samples, rate = soundfile.read(path, dtype="float32")
    assert classifier.predict(samples, sample_rate=rate) == pytest.approx(classifier.predict(path), abs=1e-5)
    with pytest.raises(atst.UsageError, match="sample_rate"):
        classifier.predict(samples)


def test_a_long_recording_is_the_average_of_its_minutes(probed, tmp_path):
    classifier = atst.load_classifier(probed)
    samples = np.random.default_rng(1).normal(0, 0.1, 70 * 16000).astype(np.float32)
    soundfile.write(tmp_path / "long.wav", samples, 16000, subtype="FLOAT")
    first, last = classifier.scores([samples[24 * 16000 : 36 * 16000], samples[60 * 16000 :]])
    expected = dict(zip(classifier.labels, (60 * first + 10 * last) / 70, strict=True))
    assert classifier.predict(tmp_path / "long.wav") == pytest.approx(expected, abs=1e-5)
    assert classifier.predict(samples, sample_rate=16000) == pytest.approx(expected, abs=1e-5)


def test_temperature_and_multi_label(probed, tmp_path):
    plain = change_labels(probed, tmp_path / "plain", temperature=1.0)
    calibrated = change_labels(probed, tmp_path / "warm", temperature=4.0)
    many = change_labels(probed, tmp_path / "many", multi_label=True, temperature=1.0)
    clip = [np.random.default_rng(2).normal(0, 0.1, 16000).astype(np.float32)]
    logits = np.log(plain.scores(clip)) / 4
    np.testing.assert_allclose(
        calibrated.scores(clip), np.exp(logits) / np.exp(logits).sum(1, keepdims=True), rtol=1e-6
    )
    low, high = np.log(plain.scores(clip))[0]
    odds = np.log(many.scores(clip) / (1 - many.scores(clip)))[0]
    assert odds[0] - odds[1] == pytest.approx(low - high, abs=1e-5)


def change_labels(probed, folder, **changed):
    """A copy of the classifier, its labels.json changed."""
    folder.mkdir()
    for path in (probed / "model").iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    labels = json.loads((folder / "labels.json").read_text())
    (folder / "labels.json").write_text(json.dumps(labels | changed))
    return atst.load_classifier(folder)


def test_a_feature_baseline_has_no_files_of_its_own(probed, tmp_path):
    atst.probe(probed.parent / "meta.csv", model="logmel", out=tmp_path, device="cpu", cache=False)
    assert set(atst.load_classifier(tmp_path).predict(probed.parent / "0.wav")) == {"low", "high"}


def test_a_folder_called_like_its_baseline_does_not_matter(probed, tmp_path, monkeypatch):
    atst.probe(probed.parent / "meta.csv", model="logmel", out=tmp_path, device="cpu", cache=False)
    (tmp_path / "logmel").mkdir()
    monkeypatch.chdir(tmp_path)
    assert set(atst.load_classifier(tmp_path).predict(probed.parent / "0.wav")) == {"low", "high"}


def test_folders_without_a_classifier(probed, tmp_path):
    with pytest.raises(atst.ModelError, match="no such folder"):
        atst.load_classifier(tmp_path / "missing")
    with pytest.raises(atst.ModelError, match="holds no classifier"):
        atst.load_classifier(tmp_path)
    atst.load("random:nano").save(tmp_path / "run" / "model")
    for folder in (tmp_path / "run", tmp_path / "run" / "model"):
        with pytest.raises(atst.ModelError, match=r"an encoder without a classifier.*atst probe TASK"):
            atst.load_classifier(folder)


@pytest.mark.parametrize("damage", ["json", "key", "head", "shape"])
def test_a_damaged_classifier_is_one_line(probed, tmp_path, damage):
    folder = tmp_path / "model"
    change_labels(probed, folder)
    if damage == "json":
        (folder / "labels.json").write_text("{")
    elif damage == "key":
        (folder / "labels.json").write_text("{}")
    elif damage == "head":
        (folder / "head.safetensors").write_bytes(b"nothing")
    else:
        head = load_file(folder / "head.safetensors")
        save_file(
            {"weight": head["weight"][:, :5].contiguous(), "bias": head["bias"]}, folder / "head.safetensors"
        )
    with pytest.raises(atst.ModelError) as error:
        atst.load_classifier(folder)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "changed",
    [
        {"labels": [1, 2]},
        {"labels": None},
        {"temperature": 0},
        {"temperature": "warm"},
        {"features": []},
        {"features": {"layers": None}},
        {"features": {"layers": 1e400}},
        {"features": {"layers": 1, "pooling": {}}},
        {"features": {"layers": 1, "levels": []}},
        {"features": {"layers": 1, "clip_seconds": "all"}},
    ],
)
def test_values_that_no_classifier_has(probed, tmp_path, changed):
    with pytest.raises(atst.ModelError, match="cannot be loaded"):
        change_labels(probed, tmp_path / "model", **changed)


@pytest.mark.parametrize("text", ["[]", "3", "[" * 100_000])
def test_labels_that_are_no_object(probed, tmp_path, text):
    change_labels(probed, tmp_path / "model")
    (tmp_path / "model" / "labels.json").write_text(text)
    with pytest.raises(atst.ModelError, match="cannot be loaded"):
        atst.load_classifier(tmp_path / "model")
