import dataclasses
import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tones import SpectrumModel, tone_files, tone_task

from atst.errors import AtstError, UsageError
from atst.evaluation.features import prepare
from atst.evaluation.knn import knn_scores, knn_watch
from atst.evaluation.linear import linear_probe
from atst.evaluation.report import write_probe
from atst.scoring.metrics import accuracy
from atst.scoring.splits import make_splits
from atst.tasks import load_task


def run(task, **options):
    return linear_probe(prepare(SpectrumModel(), task, cache=False, device="cpu", **options))


@pytest.mark.parametrize(("folds", "valid"), [(0, True), (0, False), (4, True), (2, True)])
def test_a_learnable_task_is_learned_and_random_labels_are_not(folds, valid):
    task = tone_task(folds=folds, valid=valid)
    result = run(task).result
    assert result.value > 0.95
    assert result.knn["value"] > 0.95
    assert result.ci[0] <= result.value <= result.ci[1]
    assert len(result.selected) == (folds or 1)
    assert result.value == pytest.approx(np.mean([choice.value for choice in result.selected]))
    shuffled = dataclasses.replace(task, labels=np.random.default_rng(9).permutation(task.labels))
    assert run(shuffled).result.value < 0.65


@pytest.mark.parametrize("valid", [True, False])
def test_test_labels_do_not_touch_what_is_chosen_or_trained(valid):
    task = tone_task(valid=valid)
    test = np.flatnonzero(task.splits == "test")
    labels = task.labels.copy()
    labels[test] = (labels[test] + 1) % 3
    one, other = run(task), run(dataclasses.replace(task, labels=labels))
    assert one.result.selected[0].learning_rate == other.result.selected[0].learning_rate
    assert one.result.selected[0].epoch == other.result.selected[0].epoch
    assert one.result.selected[0].valid == other.result.selected[0].valid
    assert torch.equal(one.tested.logits, other.tested.logits)
    assert torch.equal(one.kept.head.layers[0][0], other.kept.head.layers[0][0])
    assert other.result.value < 0.1


def test_labels_of_a_fold_do_not_touch_the_head_tested_on_it():
    task = tone_task(folds=4)
    first = task.folds == 1
    labels = np.where(first, (task.labels + 1) % 3, task.labels)
    one, other = run(task), run(dataclasses.replace(task, labels=labels))
    assert torch.equal(one.tested.logits[: first.sum()], other.tested.logits[: first.sum()])
    assert one.result.selected[0].learning_rate == other.result.selected[0].learning_rate


@pytest.mark.parametrize(("folds", "valid"), [(0, True), (0, False), (5, True), (3, True), (2, True)])
def test_splits_are_disjoint_and_every_fold_is_tested_once(folds, valid):
    task = tone_task(60, folds=folds, valid=valid)
    splits = make_splits(task, np.arange(60), seed=0)
    total = splits.train.astype(int) + splits.valid + splits.test
    assert (total == 1).all()
    assert splits.train.any(0).all()
    assert splits.valid.any(0).all()
    if folds:
        assert (splits.test.sum(1) == 1).all()
        assert (splits.held_out is None) == (not folds and valid)


@pytest.mark.parametrize("folds", [0, 2, 4])
@pytest.mark.parametrize("enough", [1, 8, 1000])
def test_held_out_clips_are_repeated_until_enough_clips_are_held_out(folds, enough, monkeypatch):
    monkeypatch.setattr("atst.scoring.splits.MIN_VALID_CLIPS", enough)
    task = tone_task(60, folds=folds, valid=False)
    splits = make_splits(task, np.arange(60), seed=0)
    chosen = splits.holdouts.sum(2)  # how often a clip is held out of a classifier's training
    assert chosen.max() == 1
    assert not (chosen & ~splits.train_and_valid).any()
    assert (splits.holdouts[:, :, 0] == splits.valid).all()
    assert (splits.holdouts.any(0)).all()
    if enough == 1:
        assert splits.holdouts.shape[2] == 1
    elif enough == 8:
        assert (chosen.sum(0) >= 8).all()
        assert (splits.holdouts[:, :, :-1].sum((0, 2)) < 8).any()
    elif folds > 2:
        assert (chosen == splits.train_and_valid).all()


def test_a_validation_split_is_not_repeated(monkeypatch):
    monkeypatch.setattr("atst.scoring.splits.MIN_VALID_CLIPS", 1000)
    splits = make_splits(tone_task(60), np.arange(60), seed=0)
    assert splits.holdouts.shape[2] == 1
    assert splits.selected_on == "the validation split"


def test_all_hold_outs_select_one_learning_rate_and_epoch_and_all_their_clips_train_the_tested_head():
    probe = run(tone_task(folds=4))
    assert "the fold after the test fold (3 hold-outs of different clips)" in probe.result.selected_on
    for choice in probe.result.selected:
        assert choice.clips["train"] + choice.clips["test"] < len(probe.data.task)
        assert choice.clips["valid"] + choice.clips["test"] == len(probe.data.task)


def test_the_same_seed_gives_the_same_numbers():
    one, other = run(tone_task(folds=4), seed=5), run(tone_task(folds=4), seed=5)
    assert dataclasses.asdict(one.result) == dataclasses.asdict(other.result)


def test_multi_label_tasks_are_measured_by_map(tmp_path):
    task = tone_task()
    labels = np.zeros((len(task), 4), dtype=np.uint8)
    labels[np.arange(len(task)), task.labels] = 1
    labels[:, 3] = task.labels == 0
    names = [*task.label_names, "lowest"]
    probe = run(dataclasses.replace(task, labels=labels, label_names=names))
    assert probe.result.metric == "mAP"
    assert probe.result.value > 0.95
    write_probe(probe, tmp_path / "out")
    rows = (tmp_path / "out" / "predictions.csv").read_text().splitlines()
    assert rows[0].endswith("score lowest")
    assert any(";lowest" in row for row in rows[1:])


def test_files_of_a_probe(tmp_path):
    table = tone_files(tmp_path)
    probe = linear_probe(prepare(SpectrumModel(), load_task(table), cache=False, device="cpu"))
    write_probe(probe, tmp_path / "out")
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert {
        "task",
        "model",
        "protocol",
        "pooling",
        "metric",
        "value",
        "ci",
        "knn",
        "skipped",
    } <= results.keys()
    assert results["value"] == 1
    assert results["selected"][0]["clips"] == {"train": 20, "valid": 10, "test": 10}
    rows = (tmp_path / "out" / "predictions.csv").read_text().splitlines()
    assert rows[0] == "path,split,label,prediction,score,correct"
    assert rows[1].startswith("6.wav,test,low,low,")
    assert len(rows) == 11
    page = (tmp_path / "out" / "report.html").read_text()
    assert "data:image/png" in page
    assert "http" not in page.replace("http-equiv", "")
    head = load_file(tmp_path / "out" / "model" / "head.safetensors")
    labels = json.loads((tmp_path / "out" / "model" / "labels.json").read_text())
    logits = probe.data.features @ head["weight"].T + head["bias"]
    assert labels["labels"] == ["high", "low"]
    assert accuracy(logits, torch.from_numpy(load_task(table).labels)) == 1


@pytest.mark.parametrize("many", [False, True])
def test_classes_of_any_name_are_drawn_and_written(tmp_path, many):
    task = dataclasses.replace(tone_task(), label_names=["b$^$", "a $ b", "caf\udce9"])
    if many:
        task = dataclasses.replace(task, labels=np.eye(3, dtype=np.uint8)[task.labels])
    write_probe(run(task), tmp_path)
    rows = (tmp_path / "predictions.csv").read_text(encoding="utf-8")
    assert "b$^$" in rows
    assert "caf\\udce9" in rows
    assert len(rows.splitlines()) == 1 + (task.splits == "test").sum()


def test_an_interrupted_probe_leaves_no_results(tmp_path, monkeypatch):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    probe = run(tone_task())
    for step in ("atst.model.classifier.Classifier.save", "atst.scoring.result.write_predictions"):
        write_probe(probe, tmp_path)  # an earlier one
        with monkeypatch.context() as patch:
            patch.setattr(step, interrupted)
            with pytest.raises(KeyboardInterrupt):
                write_probe(probe, tmp_path)
        assert not (tmp_path / "results.json").exists()
        assert not (tmp_path / "report.html").exists()


def test_a_picture_that_cannot_be_drawn_costs_no_result(tmp_path, monkeypatch):
    def failing(*arguments):
        raise ValueError("nothing to draw")

    monkeypatch.setattr("atst.evaluation.report._map", failing)
    with pytest.raises(ValueError, match="nothing to draw"):
        write_probe(run(tone_task()), tmp_path)
    assert json.loads((tmp_path / "results.json").read_text())["value"] == 1
    assert (tmp_path / "predictions.csv").is_file()
    assert (tmp_path / "model" / "head.safetensors").is_file()


class Deaf(SpectrumModel):
    """Embeds everything alike, but for rounding."""

    fingerprint = "deaf"

    def _vector(self, clip):
        return np.full(16, 3, np.float32) + 1e-6 * np.sin(clip[:16])


@pytest.mark.parametrize("folds", [0, 3])
def test_equal_embeddings_are_warned_of_and_drawn_as_one_place(tmp_path, folds, monkeypatch):
    def never(*arguments, **options):
        raise AssertionError("there is no map to compute")

    monkeypatch.setattr("atst.evaluation.report.TSNE", never)
    probe = linear_probe(prepare(Deaf(), tone_task(60, folds=folds), cache=False, device="cpu"))
    write_probe(probe, tmp_path)
    warnings = json.loads((tmp_path / "results.json").read_text())["warnings"]
    assert any(warning.startswith("All embeddings are equal") for warning in warnings)
    assert "All embeddings are equal" in (tmp_path / "report.html").read_text()
    assert not any("equal" in warning for warning in run(tone_task()).result.warnings)


def test_unreadable_clips_are_skipped_and_listed(tmp_path):
    table = tone_files(tmp_path, column="fold")
    (tmp_path / "3.wav").write_bytes(b"not audio")
    result = linear_probe(prepare(SpectrumModel(), load_task(table), cache=False, device="cpu")).result
    assert [clip for clip, _ in result.skipped] == ["3.wav"]
    assert result.clips == 39
    assert "1 of 40 clips" in result.warnings[0]


def test_a_split_without_readable_clips_is_an_error(tmp_path):
    table = tone_files(tmp_path)
    task = load_task(table)
    for index in np.flatnonzero(task.splits == "valid"):
        task.path(index).write_bytes(b"not audio")
    with pytest.raises(AtstError, match="split 'valid'") as error:
        linear_probe(prepare(SpectrumModel(), task, cache=False, device="cpu"))
    assert error.value.exit_code == 1


def test_a_best_rate_at_the_edge_is_warned_of_and_known_grids_are_kept(monkeypatch):
    monkeypatch.setattr("atst.evaluation.linear.LEARNING_RATES", (1e-7, 1e-6))
    assert "edge" in run(tone_task()).result.warnings[0]
    result = run(dataclasses.replace(tone_task(), learning_rates=(0.01, 0.02))).result
    assert result.learning_rates == [0.01, 0.02]
    assert result.warnings == []


def test_nearest_neighbours_vote_by_angle():
    train = torch.tensor([[1.0, 0.0], [5.0, 0.1], [0.0, 1.0], [0.1, 3.0]])
    scores = knn_scores(
        train, torch.tensor([0, 0, 1, 1]), torch.tensor([[9.0, 1.0], [0.0, 0.1]]), 2, neighbours=2
    )
    assert scores.argmax(1).tolist() == [0, 1]


@pytest.mark.parametrize("task", [tone_task(), tone_task(valid=False), tone_task(folds=3)])
def test_knn_accuracy_for_watching_reads_no_test_clip(task):
    read = []
    waveform = task.waveform
    watched = dataclasses.replace(task, waveform=lambda index: read.append(index) or waveform(index))
    assert knn_watch(watched)(SpectrumModel()) > 0.9
    if task.splits is not None:
        assert "test" not in task.splits[read]


def test_the_probe_of_log_mel_statistics_on_real_sounds(shared_data, tmp_path, monkeypatch):
    from atst.commands.probe import probe

    monkeypatch.setenv("ATST_CACHE", str(tmp_path))
    result = probe("esc10", model="logmel", data=shared_data / "tasks" / "esc10", device="cpu")
    assert result.value > 0.6
    assert len(result.selected) == 5
    assert all("edge" in warning for warning in result.warnings)


def test_a_registered_task_without_its_folder_says_what_to_give(monkeypatch):
    monkeypatch.delenv("ATST_DATA", raising=False)
    with pytest.raises(UsageError, match="--data DIR"):
        load_task("esc10")
