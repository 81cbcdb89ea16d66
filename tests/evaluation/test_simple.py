"""Logistic regression and nearest neighbours on standardised features: no choice, and no other clips."""

import csv
import dataclasses
import json

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score
from sklearn.multiclass import OneVsRestClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tones import SpectrumModel, tone_files, tone_task

import atst
from atst.evaluation.features import prepare
from atst.evaluation.few_shot import few_shot_probe
from atst.evaluation.report import write_probe
from atst.evaluation.simple import simple_probe
from atst.model.classifier import load_classifier
from atst.scoring.splits import FewShot


class BlurredModel(SpectrumModel):
    """The spectrum in noise, on scales from 1e-3 to 1e3, so that results differ from 0 and 1."""

    def _vector(self, clip):
        vector = super()._vector(clip)
        noise = np.random.default_rng(abs(int(vector.sum() * 1e4))).standard_normal(len(vector))
        return ((vector + 6 * noise) * np.logspace(-3, 3, len(vector)) + 5).astype(np.float32)


def run(task, model=None, **options):
    return simple_probe(prepare(model or BlurredModel(), task, cache=False, device="cpu", **options))


def features(task):
    return BlurredModel().embed([task.read(i) for i in range(len(task))])


def two_labels(task):
    """The class of each clip, and whether it is the first."""
    labels = np.zeros((len(task), 4), dtype=np.uint8)
    labels[np.arange(len(task)), task.labels] = 1
    labels[:, 3] = task.labels == 0
    return dataclasses.replace(task, labels=labels, label_names=[*task.label_names, "lowest"])


def parts(task):
    """Training and test rows of each classifier: what is not tested trains."""
    if task.folds is None:
        return [(task.splits != "test", task.splits == "test")]
    return [(task.folds != fold, task.folds == fold) for fold in np.unique(task.folds)]


@pytest.mark.parametrize("folds", [0, 3])
def test_both_values_are_those_of_scikit_learn(folds):
    task = tone_task(folds=folds)
    probe, x, y = run(task), features(task), task.labels
    for fold, (train, test) in enumerate(parts(task)):
        fitted = make_pipeline(StandardScaler(), LogisticRegression(C=0.01)).fit(x[train], y[train])
        assert probe.result.selected[fold].value == pytest.approx(fitted.score(x[test], y[test]))
        near = make_pipeline(StandardScaler(), KNeighborsClassifier(10, metric="cosine")).fit(
            x[train], y[train]
        )
        assert probe.result.knn["folds"][fold] == pytest.approx(near.score(x[test], y[test]))
    result = probe.result
    assert result.value == pytest.approx(np.mean([one.value for one in result.selected]))
    assert result.knn["value"] == pytest.approx(np.mean(result.knn["folds"]))
    assert 0.4 < result.value < 1
    assert 0.4 < result.knn["value"] < 1
    assert result.ci[0] < result.value < result.ci[1]
    assert result.knn["ci"][0] < result.knn["value"] < result.knn["ci"][1]
    assert result.calibration["temperature"] == 1


@pytest.mark.parametrize("folds", [0, 3])
def test_with_several_labels_it_is_one_against_the_rest(folds):
    task = two_labels(tone_task(folds=folds))
    result, x, y = run(task).result, features(task), task.labels
    assert result.metric == "mAP"
    for fold, (train, test) in enumerate(parts(task)):
        one = OneVsRestClassifier(LogisticRegression(C=0.01))
        fitted = make_pipeline(StandardScaler(), one).fit(x[train], y[train])
        expected = average_precision_score(y[test], fitted.decision_function(x[test]))
        assert result.selected[fold].value == pytest.approx(expected, abs=1e-3)
        near = make_pipeline(StandardScaler(), KNeighborsClassifier(10, metric="cosine")).fit(
            x[train], y[train]
        )
        shares = np.stack([column[:, 1] for column in near.predict_proba(x[test])], axis=1)
        expected = average_precision_score(y[test], shares)
        assert result.knn["folds"][fold] == pytest.approx(expected, abs=1e-6)


def test_validation_clips_train_and_test_clips_do_not():
    task = tone_task()
    probe = run(task)
    assert probe.result.selected[0].clips == {"train": 90, "valid": 0, "test": 30}
    relabelled = {}
    for split in ("valid", "test"):
        labels = np.where(task.splits == split, (task.labels + 1) % 3, task.labels)
        relabelled[split] = run(dataclasses.replace(task, labels=labels))
    assert torch.equal(relabelled["test"].tested.logits, probe.tested.logits)
    assert not torch.equal(relabelled["valid"].tested.logits, probe.tested.logits)
    assert relabelled["test"].result.knn["value"] != probe.result.knn["value"]


def test_the_seed_decides_only_the_interval():
    one, other = run(tone_task()), run(tone_task(), seed=1)
    assert torch.equal(one.tested.logits, other.tested.logits)
    assert one.result.value == other.result.value


@pytest.mark.parametrize("multi_label", [False, True])
def test_a_class_without_training_clips_is_never_predicted(multi_label):
    task = tone_task()
    splits = np.where(task.labels == 1, "test", task.splits)
    task = dataclasses.replace(task, splits=splits)
    task = two_labels(task) if multi_label else task
    probe = run(task)
    scores = probe.tested.logits.sigmoid() if multi_label else probe.tested.logits.softmax(-1)
    assert scores[:, 1].max() == 0
    assert "no training clip" in " ".join(probe.result.warnings)


def test_training_clips_of_one_class_predict_that_class():
    task = tone_task()
    splits = np.where(task.labels == 2, task.splits, "test")
    probe = run(dataclasses.replace(task, splits=splits))
    assert (probe.tested.logits.argmax(1) == 2).all()


@pytest.mark.parametrize("folds", [0, 3])
def test_few_labels_are_drawn_several_times_and_all_of_them_train(folds):
    task = tone_task(folds=folds)
    data = prepare(BlurredModel(), task, few_shot=FewShot(5), cache=False, seed=3)
    probe = few_shot_probe(data, simple_probe)
    result = probe.result
    assert [one.seed for one in result.seeds] == [3, 4, 5, 6, 7]
    assert result.value == pytest.approx(np.mean([one.value for one in result.seeds]))
    assert result.knn["value"] == pytest.approx(np.mean([one.knn for one in result.seeds]))
    assert result.knn["ci"][0] < result.knn["value"] < result.knn["ci"][1]
    assert result.ci_over == "5 draws of training clips"
    assert {one.clips["train"] for one in result.selected} == {15}
    assert probe.data.splits.train.sum(0).tolist() == [15] * max(1, folds)
    assert "5 training clips of each class" in probe.kept.trained_on


@pytest.mark.parametrize("column", ["split", "fold"])
def test_the_command_writes_results_report_and_a_classifier(column, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    table = tone_files(tmp_path, column=column)
    result = atst.probe(table, model="logmel", protocol="simple", out=tmp_path / "out", cache=False)
    assert result.value == result.knn["value"] == 1
    assert "simple: 1 blocks" in " ".join(capsys.readouterr().out.split())
    written = (tmp_path / "out" / "results.json").read_text()
    assert "NaN" not in written
    stored = json.loads(written)
    assert (stored["protocol"], stored["classifier"]) == ("simple", "logistic regression, C = 0.01")
    assert stored["settings"]["C"] == 0.01
    assert stored["knn"]["distance"] == "cosine of the standardised features"
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Logistic regression and nearest neighbours" in page
    assert "What validation selected" not in page
    scores = load_classifier(tmp_path / "out").predict(tmp_path / "1.wav")
    assert max(scores, key=scores.get) == "high"


def test_a_plan_puts_both_values_into_the_table(tmp_path):
    tone_files(tmp_path)
    plan = "models: [logmel]\ntasks: {tones: meta.csv}\nprotocols: simple\nshots: [2, all]\n"
    (tmp_path / "plan.yaml").write_text(plan.replace("meta.csv", str(tmp_path / "meta.csv")))
    out = tmp_path / "out"
    rows = atst.evaluate(tmp_path / "plan.yaml", out=out, cache=False)
    assert [row.labels for row in rows] == ["shots 2", "all"]
    with (out / "table.csv").open() as stream:
        stored = list(csv.DictReader(stream))
    assert [float(row["value"]) for row in stored] == [row.value for row in rows]
    assert all(float(row["knn"]) > 0 for row in stored)
    before = [cell.stat().st_mtime_ns for cell in cells(out)]
    atst.evaluate(tmp_path / "plan.yaml", out=out, cache=False)
    assert before == [cell.stat().st_mtime_ns for cell in cells(out)]


def cells(out):
    return sorted(out.glob("cells/**/results.json"))


def test_the_report_of_few_labels_can_be_written(tmp_path):
    data = prepare(BlurredModel(), tone_task(folds=3), few_shot=FewShot(2), cache=False)
    write_probe(few_shot_probe(data, simple_probe, seeds=2), tmp_path / "out", brief=True)
    assert "2 draws" in (tmp_path / "out" / "report.html").read_text()
