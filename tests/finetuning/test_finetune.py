"""Whole fine-tunings of the smallest encoder on tones, most through the public command."""

import csv
import dataclasses
import json

import numpy as np
import pytest
import torch
from tones import tone, tone_files, tone_task

import atst
from atst import cli
from atst.errors import AtstError, AudioError, UsageError
from atst.finetuning import data
from atst.finetuning import recipe as recipes
from atst.finetuning.clips import Clips
from atst.finetuning.fit import Job
from atst.finetuning.module import FinetuningModule
from atst.finetuning.output import write_finetuned
from atst.finetuning.run import finetune
from atst.model import load as models
from atst.scoring.splits import FewShot
from atst.training import precision

SHORT = ("batch_size=16", "max_epochs=4", "warmup_epochs=1", "checkpoint_minutes=0", "precision=float32")


def run(table, out, *more, **options):
    options = {"model": "random:nano", "workers": 0, "device": "cpu"} | options
    return atst.finetune(table, out=out, overrides=[*SHORT, *more], **options)


def job(task, folder, *more, memory=2e9):
    plan = recipes.resolve("x", "own", [*SHORT, "workers=0", *more])
    model = models.load("random:nano")
    return Job(model, task, Clips(task, memory), plan, folder, torch.device("cpu"))


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return tone_files(tmp_path_factory.mktemp("tones"))


@pytest.fixture(scope="module")
def whole(table, tmp_path_factory):
    """A fine-tuning that nothing interrupted, with mixup, crops and micro-batches."""
    out = tmp_path_factory.mktemp("finetuned") / "whole"
    return run(table, out, "accumulate=2", "masks=[8,8]", "drop_path=0.2"), out


def test_a_separable_task_is_learned_and_files_are_left(table, whole):
    result, out = whole
    assert result.value == 1
    assert result.protocol == "own"
    assert result.selected[0].clips == {"train": 20, "valid": 10, "test": 10}
    results = json.loads((out / "results.json").read_text())
    assert {"task", "model", "protocol", "pooling", "metric", "value", "ci", "calibration"} <= results.keys()
    assert (results["generation"], results["precision"]) == ("own", "float32")
    assert results["device"].startswith("1 x cpu (")
    assert results["versions"]["torch"] == str(torch.__version__)
    with (out / "training" / "split" / "metrics.csv").open(newline="") as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["1", "2", "3", "4"]
    assert "data:image/png" in (out / "report.html").read_text()
    assert list(out.glob("training/*/*.safetensors")) + list(out.glob("training/*/checkpoints")) == []
    rows = (out / "predictions.csv").read_text().splitlines()
    assert rows[0] == "path,split,label,prediction,score,correct"
    assert len(rows) == 11


def test_a_quiet_one_says_what_came_of_it(table, tmp_path, capsys):
    run(table, tmp_path / "quiet", "max_epochs=2", quiet=True)
    out, err = capsys.readouterr()
    assert "meta.csv: accuracy " in out
    assert err.splitlines()[-1] == "40 of 40 clips done"
    assert all(line.startswith("warning: ") for line in err.splitlines()[:-1])


def test_the_saved_classifier_predicts_what_was_tested(table, whole):
    _, out = whole
    classifier = atst.load_classifier(out)
    with (out / "predictions.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            scores = classifier.predict(table.parent / row["path"])
            assert next(iter(scores)) == row["prediction"]
            assert scores[row["prediction"]] == pytest.approx(float(row["score"]), abs=1e-4)


@pytest.mark.parametrize("after", [3, 21])  # micro-batches: within the first and the second epoch, of 16
def test_a_resumed_fine_tuning_ends_in_the_same_weights(table, whole, tmp_path, monkeypatch, after):
    result, expected = whole
    options = ("accumulate=2", "masks=[8,8]", "drop_path=0.2", "checkpoint_minutes=1e-6")
    step, count = FinetuningModule.training_step, iter(range(100))

    def interrupted(self, *arguments):
        if next(count) == after:
            raise RuntimeError("the power went")
        return step(self, *arguments)

    monkeypatch.setattr(FinetuningModule, "training_step", interrupted)
    with pytest.raises(RuntimeError, match="the power went"):
        run(table, tmp_path / "out", *options)
    monkeypatch.undo()
    resumed = atst.finetune(table, model="random:nano", out=tmp_path / "out", resume=True, device="cpu")
    for name in ("model.safetensors", "head.safetensors"):
        assert (tmp_path / "out" / "model" / name).read_bytes() == (expected / "model" / name).read_bytes()
    assert (resumed.selected, resumed.calibration) == (result.selected, result.calibration)


@pytest.mark.parametrize("stopped", ["fit.predict", "output._report"])
def test_a_fine_tuning_stopped_after_its_training_goes_on(table, whole, tmp_path, monkeypatch, stopped):
    result, _ = whole

    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(f"atst.finetuning.{stopped}", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(table, tmp_path / "out", "accumulate=2", "masks=[8,8]", "drop_path=0.2")
    monkeypatch.undo()
    monkeypatch.setattr(FinetuningModule, "training_step", interrupted)
    resumed = run(table, tmp_path / "out", resume=True)
    assert (resumed.selected, resumed.calibration) == (result.selected, result.calibration)
    assert (tmp_path / "out" / "report.html").is_file()


def test_resume_of_a_finished_one_does_nothing_and_refuses_changes(table, whole, capsys):
    result, out = whole
    before = (out / "results.json").stat().st_mtime_ns
    options = {"model": "random:nano", "out": out, "resume": True, "device": "cpu"}
    assert atst.finetune(table, **options).value == result.value
    assert (out / "results.json").stat().st_mtime_ns == before
    assert "accuracy 1.000" in capsys.readouterr().out
    with pytest.raises(UsageError, match=r"learning_rate \(0\.3 -> 0\.1\)"):
        atst.finetune(table, overrides=["learning_rate=0.1"], **options)
    with pytest.raises(UsageError, match="cannot change model"):
        atst.finetune(table, **options | {"model": "random:tiny"})
    with pytest.raises(UsageError, match="no values for"):
        atst.finetune(table, protocol="authors2023", **options)
    with pytest.raises(UsageError, match="not an empty folder; use --resume"):
        atst.finetune(table, **options | {"resume": False})


def test_the_faster_precision_is_decided_once_and_kept(table, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(precision, "seconds", lambda word, *_: {"float32": 2.0, "bf16": 1.0}[word])
    run(table, tmp_path / "out", "precision=auto", "max_epochs=1", "warmup_epochs=0")
    assert "bf16, 1 thread and 0 loader processes\n" in capsys.readouterr().err
    assert "precision: bf16\n" in (tmp_path / "out" / "recipe.yaml").read_text()
    monkeypatch.setattr(precision, "seconds", lambda word, *_: {"float32": 1.0, "bf16": 2.0}[word])
    run(table, tmp_path / "out", "precision=auto", "max_epochs=1", "warmup_epochs=0", resume=True)
    assert "precision: bf16\n" in (tmp_path / "out" / "recipe.yaml").read_text()


def test_test_clips_are_used_once_after_everything_else(tmp_path):
    task, read = tone_task(48), []
    waveform = task.waveform
    watched = dataclasses.replace(task, waveform=lambda index: read.append(index) or waveform(index))
    finetune(job(watched, tmp_path, memory=0), "own")
    parts = task.splits[read]
    tests = np.flatnonzero(parts == "test")
    assert len(tests) == (task.splits == "test").sum()
    assert tests[0] == len(read) - len(tests)


def test_every_fold_is_tested_by_its_own_training_and_the_kept_model_has_seen_all(tmp_path, capsys):
    task = tone_task(36, folds=3, classes=2)
    finished = finetune(job(task, tmp_path, "mixup=0"), "own")
    assert [choice.fold for choice in finished.result.selected] == [1, 2, 3]
    assert [choice.clips for choice in finished.result.selected] == [
        {"train": 12, "valid": 12, "test": 12}
    ] * 3
    assert sorted(finished.tested.rows) == list(range(36))
    assert "all labelled clips" in finished.result.kept
    assert "all: epoch" in capsys.readouterr().err
    write_finetuned(finished, tmp_path)
    assert json.loads((tmp_path / "model" / "labels.json").read_text())["temperature"] > 0
    alone = finetune(job(task, tmp_path / "alone", "mixup=0"), "own", fold=2)
    assert alone.result.selected[0] == finished.result.selected[1]
    assert alone.result.kept == "all training clips, none of them in fold 2"


def test_the_last_epoch_needs_nothing_held_out(tmp_path):
    finished = finetune(job(tone_task(36, folds=3), tmp_path, "select=last", "max_epochs=1"), "paper", fold=1)
    [choice] = finished.result.selected
    assert choice.clips == {"train": 24, "valid": 0, "test": 12}
    assert choice.valid is None
    assert finished.result.calibration["temperature"] == 1


@pytest.mark.parametrize(("shots", "clips"), [(1, (3, 0)), (5, (12, 3))])
def test_few_labels(tmp_path, shots, clips):
    work = dataclasses.replace(job(tone_task(48), tmp_path, "max_epochs=1"), few_shot=FewShot(shots=shots))
    result = finetune(work, "own").result
    assert (result.selected[0].clips["train"], result.selected[0].clips["valid"]) == clips
    assert result.selected_on.startswith("nothing" if shots == 1 else "a fifth of the 5 training clips")
    assert result.trained_on == result.kept
    assert result.trained_on.startswith(f"{shots} training clip")


def test_early_stop_keeps_the_best_epoch(tmp_path):
    options = ("max_epochs=40", "warmup_epochs=0", "patience=1", "mixup=0", "resize_crop=false")
    [choice] = finetune(job(tone_task(36), tmp_path, *options), "own").result.selected
    assert choice.epochs == choice.epoch + 1 < 40


@pytest.mark.parametrize("options", [("class_weights=false",), ("class_weights=true", "balanced=true")])
def test_labels_are_laid_out_clip_by_clip(tmp_path, monkeypatch, options):
    made, one_hot = [], data.one_hot
    monkeypatch.setattr(data, "one_hot", lambda *given: made.append(len(given[0])) or one_hot(*given))
    finetune(job(tone_task(24), tmp_path, "max_epochs=1", "select=last", *options), "own")
    assert set(made) == {1, 6}  # and the 6 validation clips


def test_frozen_blocks_stay_as_they_were(tmp_path):
    work = job(tone_task(24), tmp_path, "freeze=3", "max_epochs=2", "class_weights=true", "precision=bf16")
    after = finetune(work, "own").network.model.encoder.state_dict()
    for name, before in work.model.encoder.state_dict().items():
        moved = not torch.equal(before, after[name])
        assert moved == (name.startswith(("blocks.3.", "norm."))), name


def test_several_labels_a_clip(tmp_path):
    task = tone_task(48)
    labels = np.zeros((48, 3), dtype=np.uint8)
    labels[np.arange(48), task.labels] = 1
    labels[task.labels == 2, 0] = 1
    finished = finetune(job(dataclasses.replace(task, labels=labels), tmp_path, "balanced=true"), "own")
    assert finished.result.metric == "mAP"
    assert finished.result.value > 0.7
    write_finetuned(finished, tmp_path)
    assert (tmp_path / "predictions.csv").read_text().startswith("path,split,label,prediction,score pitch 0")


def test_a_class_without_training_clips_is_warned_of(tmp_path, capsys):
    table = tone_files(tmp_path)
    text = table.read_text().replace("6.wav,low,test", "6.wav,deep,test")
    table.write_text(text.replace("22.wav,low,test", "22.wav,deeper,test"))
    line = "2 classes have test clips but no training clip, for example 'deep': they cannot be predicted."
    result = run(table, tmp_path / "out", "max_epochs=1")
    assert result.warnings == [line]
    assert f"warning: {line}" in capsys.readouterr().err
    text = table.read_text().replace("0.wav,low,train", "0.wav,deep,train")
    table.write_text(text.replace("16.wav,low,train", "16.wav,deeper,train"))
    assert run(table, tmp_path / "shot", "max_epochs=1", shots=1).warnings == []


def test_unreadable_clips_are_counted_and_a_whole_part_is_an_error(tmp_path):
    table = tone_files(tmp_path)
    for number in (0, 6):  # one of training, one of test
        (tmp_path / f"{number}.wav").write_bytes(b"not audio")
    result = run(table, tmp_path / "out", "max_epochs=1")
    assert sorted(clip for clip, _ in result.skipped) == ["0.wav", "6.wav"]
    assert result.selected[0].clips == {"train": 19, "valid": 10, "test": 9}
    assert "2 of 40 clips" in result.warnings[0]

    def waveform(index):
        if task.splits[index] == "valid":
            raise AudioError("it is broken")
        return tone(500, index)

    task = tone_task(24)
    with pytest.raises(AtstError, match="no validation clip can be read, the first: it is broken"):
        finetune(job(dataclasses.replace(task, waveform=waveform), tmp_path / "two"), "own")


def test_what_one_training_finds_broken_does_not_change_the_clips_of_the_next(tmp_path, monkeypatch):
    task = tone_task(24, folds=2)
    good, rows, stream = task.waveform, [], data.Stream

    def waveform(index):
        if index == 5:
            raise AudioError("it is broken")
        return good(index)

    monkeypatch.setattr(data, "Stream", lambda *given: rows.append(given[2].tolist()) or stream(*given))
    options = ("max_epochs=1", "select=last", "epoch_steps=1")
    broken = dataclasses.replace(task, waveform=waveform)
    result = finetune(job(broken, tmp_path, *options, memory=0), "own").result  # nothing is read ahead
    assert [len(own) for own in rows] == [12, 12, 24]
    assert [clip for clip, _ in result.skipped] == ["tone 5"]
    assert sorted(choice.clips["train"] + choice.clips["test"] for choice in result.selected) == [23, 23]


def test_an_unreadable_test_split_is_tested_by_resume_once_it_is_repaired(tmp_path, monkeypatch):
    table = tone_files(tmp_path)
    tests = [line.split(",")[0] for line in table.read_text().splitlines() if ",test," in line]
    sounds = {name: (tmp_path / name).read_bytes() for name in tests}
    for name in tests:
        (tmp_path / name).write_bytes(b"not audio")
    with pytest.raises(AtstError, match=r"no test clip can be read, the first: .*--resume"):
        run(table, tmp_path / "out", "max_epochs=2")
    for name, sound in sounds.items():
        (tmp_path / name).write_bytes(sound)

    def no_training(*arguments):
        raise AssertionError("it was trained")

    monkeypatch.setattr(FinetuningModule, "training_step", no_training)
    assert run(table, tmp_path / "out", "max_epochs=2", resume=True).selected[0].clips["test"] == len(tests)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--set", "max_epoch=3"], "unknown recipe key 'max_epoch'. Did you mean 'max_epochs'?"),
        (["--set", "freeze=9"], "freeze must be 0 to 4"),
        (["--set", "batch_size=9", "--set", "accumulate=2"], "batch_size (9) must be a multiple"),
        (["--protocol", "paper"], "the authors' code of 2022 has no values for"),
        (["--fold", "1"], "has splits, not folds"),
        (["--shots", "0"], "--shots must be 1 or more"),
        (["--shots", "2", "--fraction", "0.5"], "give one"),
        (["--model", "logmel"], "--model logmel: has no weights to train"),
    ],
)
def test_wrong_options_are_one_line_and_leave_nothing(table, tmp_path, capsys, arguments, line):
    model = [] if "--model" in arguments else ["--model", "random:nano"]
    with pytest.raises(SystemExit) as exit:
        cli.main(["finetune", str(table), "--out", str(tmp_path / "out"), *model, *arguments])
    assert exit.value.code == 2
    assert line in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_command_line(table, tmp_path, capsys):
    command = ["finetune", str(table), "--model", "random:nano", "--out", str(tmp_path / "out")]
    command += ["--workers", "1", "--device", "cpu", "--seed", "3"]
    command += [part for key in SHORT for part in ("--set", key)]
    with pytest.raises(SystemExit) as exit:
        cli.main([*command, "--set", "max_epochs=1"])
    assert exit.value.code == 0
    said = capsys.readouterr()
    assert "/meta.csv: accuracy " in said.out
    assert "split: epoch 1/1, loss " in said.err
    assert json.loads((tmp_path / "out" / "results.json").read_text())["seed"] == 3


def test_a_loss_that_is_not_finite_is_named(table, tmp_path):
    with pytest.raises(atst.TrainingError, match="the loss became nan in epoch"):
        run(table, tmp_path / "out", "learning_rate=1e30", "warmup_epochs=0", "clip_norm=0")
