"""Probes with few labels: no more labels than said are used, and the interval is over draws."""

import dataclasses

import numpy as np
import pytest
import torch
from tones import SpectrumModel, tone_files, tone_task

import atst
from atst.errors import UsageError
from atst.evaluation.features import prepare
from atst.evaluation.few_shot import few_shot_probe
from atst.evaluation.report import write_probe
from atst.scoring.splits import FewShot, make_splits


def run(task, few_shot, seeds=5, seed=0):
    data = prepare(SpectrumModel(), task, seed=seed, cache=False, device="cpu", few_shot=few_shot)
    return few_shot_probe(data, seeds=seeds)


@pytest.mark.parametrize("folds", [0, 2, 4])
@pytest.mark.parametrize("shots", [1, 2, 5])
def test_no_more_labels_than_shots_are_used(folds, shots):
    task = tone_task(120, folds=folds)
    splits = make_splits(task, np.arange(120), seed=3, few_shot=FewShot(shots=shots))
    used = splits.train | splits.valid
    for column in used.T:
        assert np.bincount(task.labels[column], minlength=3).tolist() == [shots] * 3
    assert not (splits.train & splits.valid).any()
    assert not (used & splits.test).any()
    assert splits.valid.any() == (shots > 1)
    if shots > 1:  # every drawn clip chooses in its turn
        assert (splits.holdouts.sum(2) == used).all()
    if not folds:
        assert (task.splits[used.any(1)] == "train").all()  # the validation split is not looked at
    other = make_splits(task, np.arange(120), seed=4, few_shot=FewShot(shots=shots))
    assert (other.train != splits.train).any()


def test_a_fraction_is_of_each_class_and_keeps_one():
    task = tone_task(120)
    for fraction, expected in ((0.25, [5, 5, 5]), (0.001, [1, 1, 1]), (1.0, [20, 20, 20])):
        task = dataclasses.replace(task, labels=np.arange(120) // 4 % 3)
        splits = make_splits(task, np.arange(120), seed=0, few_shot=FewShot(fraction=fraction))
        assert np.bincount(task.labels[(splits.train | splits.valid)[:, 0]]).tolist() == expected


def test_labels_of_the_validation_split_do_not_matter():
    task = tone_task(120)
    labels = np.where(task.splits == "valid", (task.labels + 1) % 3, task.labels)
    one = run(task, FewShot(shots=4), seeds=1)
    other = run(dataclasses.replace(task, labels=labels), FewShot(shots=4), seeds=1)
    assert torch.equal(one.kept.head.layers[0][0], other.kept.head.layers[0][0])
    assert one.result.selected == other.result.selected
    assert one.result.value > 0.9


@pytest.mark.parametrize("folds", [0, 4])
def test_mean_and_interval_are_over_draws(folds, tmp_path):
    probe = run(tone_task(folds=folds), FewShot(shots=2), seeds=3, seed=7)
    result = probe.result
    values = [one.value for one in result.seeds]
    assert [one.seed for one in result.seeds] == [7, 8, 9]
    assert result.value == pytest.approx(np.mean(values))
    assert 0 <= result.ci[0] <= result.value <= result.ci[1] <= 1
    assert result.ci_over == "3 draws of training clips"
    assert result.trained_on == "2 training clips of each class"
    assert result.value > 0.6
    write_probe(probe, tmp_path / "out")
    page = (tmp_path / "out" / "report.html").read_text()
    assert "3 draws" in page


def test_the_interval_is_students_of_the_mean():
    probe = run(tone_task(), FewShot(shots=1), seeds=2)
    low, high = (one.value for one in probe.result.seeds)
    half = 12.706 * abs(high - low) / 2
    middle = (low + high) / 2
    assert probe.result.ci == pytest.approx((max(0, middle - half), min(1, middle + half)), abs=1e-3)


def test_one_shot_chooses_nothing(tmp_path):
    probe = run(tone_task(), FewShot(shots=1), seeds=1)
    [choice] = probe.result.selected
    assert choice.clips["train"] == 3
    assert choice.valid is None
    assert choice.epoch == 100
    assert len(probe.result.learning_rates) == 1
    assert probe.result.selected_on.startswith("no validation clips")
    assert probe.result.calibration["temperature"] == pytest.approx(1)
    assert probe.result.ci_over == "test clips"
    assert probe.result.value > 0.6
    write_probe(probe, tmp_path / "out")
    assert "NaN" not in (tmp_path / "out" / "results.json").read_text()


def test_with_folds_the_kept_head_has_seen_few_labels_too():
    task = tone_task(folds=4)
    probe = run(task, FewShot(shots=2), seeds=1)
    logits = probe.kept.head.logits(probe.data.features[torch.from_numpy(task.folds == 1)])
    torch.testing.assert_close(logits, probe.tested.logits[: len(logits)], rtol=1e-4, atol=1e-4)
    assert "2 training clips of each class" in probe.kept.trained_on


def test_a_class_with_fewer_clips_is_warned_of():
    assert "fewer than 50" in run(tone_task(), FewShot(shots=50), seeds=1).result.warnings[0]


def test_multi_label_tasks_take_fractions():
    task = tone_task()
    labels = np.zeros((len(task), 3), dtype=np.uint8)
    labels[np.arange(len(task)), task.labels] = 1
    task = dataclasses.replace(task, labels=labels)
    with pytest.raises(UsageError, match="--fraction"):
        atst.probe(task, model="logmel", shots=1)
    assert run(task, FewShot(fraction=0.5), seeds=1).result.value > 0.9


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"shots": 1, "fraction": 0.5}, "give one"),
        ({"shots": 0}, "--shots"),
        ({"fraction": 1.5}, "--fraction"),
        ({"seed": -1}, "--seed must"),
        ({"seeds": 3}, "--seeds"),
        ({"shots": 1, "seeds": 0}, "--seeds"),
    ],
)
def test_what_cannot_be_meant(options, text, tmp_path):
    with pytest.raises(UsageError, match=text):
        atst.probe(tmp_path / "none.csv", model="logmel", **options)


def test_the_command_prints_draws_and_published_figures(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    table = tone_files(tmp_path)
    result = atst.probe(table, model="logmel", shots=2, seeds=2, cache=False, device="cpu")
    assert len(result.seeds) == 2
    printed = capsys.readouterr().out
    assert "interval over 2 draws" in printed
    assert "paper: 1 blocks, published pooling" in printed
