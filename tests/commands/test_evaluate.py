import csv
import json

import numpy as np
import pytest
import soundfile

import atst
from atst.commands.evaluate import evaluate
from atst.errors import TrainingError, UsageError
from atst.model import load as models


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    """Tones of two pitches in three splits."""
    folder = tmp_path_factory.mktemp("labelled")
    rows = ["path,label,split"]
    for i in range(36):
        pitch, split = (300, 2000)[i % 2], ("train", "valid", "test")[i // 2 % 3]
        noise = np.random.default_rng(i).standard_normal(8000) * 0.05
        tone = 0.3 * np.sin(2 * np.pi * pitch * np.arange(8000) / 16000) + noise
        soundfile.write(folder / f"{i}.wav", tone, 16000)
        rows.append(f"{i}.wav,{pitch} Hz,{split}")
    (folder / "meta.csv").write_text("\n".join(rows))
    return folder


def plan(tmp_path, text):
    (tmp_path / "plan.yaml").write_text(text)
    return tmp_path / "plan.yaml"


def test_one_table_of_models_and_tasks_measured_once(tmp_path, labelled, capsys):
    text = (
        f"models: {{log-mel: logmel, untrained: 'random:nano'}}\ntasks: {{two | tones: {labelled}/meta.csv}}"
    )
    rows = evaluate(plan(tmp_path, text), out=tmp_path / "out", cache=False)
    assert [(row.task, row.model) for row in rows] == [
        ("two | tones", "log-mel"),
        ("two | tones", "untrained"),
    ]
    assert rows[0].value == 1.0
    assert "two \\| tones" in (tmp_path / "out" / "table.md").read_text()
    with (tmp_path / "out" / "table.csv").open(newline="") as file:
        assert [float(row["value"]) for row in csv.DictReader(file)] == [row.value for row in rows]
    assert "untrained" in (tmp_path / "out" / "report.html").read_text()
    assert "log-mel on two | tones: paper" in capsys.readouterr().err
    assert evaluate(plan(tmp_path, text), out=tmp_path / "out", cache=False) == rows
    assert "log-mel on two | tones: paper" not in capsys.readouterr().err


def test_a_quiet_one_prints_the_table_alone(tmp_path, labelled, capsys):
    text = f"models: [logmel]\ntasks: {{tones: {labelled}/meta.csv}}"
    evaluate(plan(tmp_path, text), out=tmp_path / "out", cache=False, quiet=True)
    out, err = capsys.readouterr()
    assert "tones" in out
    assert err == ""


def test_clips_that_are_skipped_are_said_each_time(tmp_path, labelled, capsys):
    meta = labelled / "damaged.csv"
    (labelled / "damaged.wav").write_bytes(b"RIFF")
    meta.write_text((labelled / "meta.csv").read_text() + "\ndamaged.wav,300 Hz,train")
    path = plan(tmp_path, f"models: {{log-mel: logmel}}\ntasks: {{tones: {meta}}}")
    for _ in range(2):
        evaluate(path, out=tmp_path / "out", cache=False)
        said = "log-mel on tones: 1 of 37 clips could not be read and were skipped."
        assert f"warning: {said}" in capsys.readouterr().err.splitlines()
        assert said in (tmp_path / "out" / "report.html").read_text()


def test_published_figures_stand_beside_their_own_generation_and_others_are_marked(tmp_path, labelled):
    tuned, options = tmp_path / "tuned", {"model": "random:nano", "device": "cpu", "workers": 0}
    atst.finetune(f"{labelled}/meta.csv", out=tuned, overrides=["max_epochs=1", "epoch_steps=1"], **options)
    result = json.loads((tuned / "results.json").read_text())
    assert result["generation"] == "own"
    (tuned / "results.json").write_text(
        json.dumps(result | {"protocol": "authors2023", "generation": "2023"})
    )
    text = f"models: [logmel]\ntasks: {{spcv2: {labelled}/meta.csv}}\nfinetuned: {{tuned: {tuned}}}"
    rows = evaluate(plan(tmp_path, text), out=tmp_path / "out", cache=False)
    assert [row.model for row in rows[:2]] == ["logmel", "tuned"]
    published = {(row.protocol, row.generation): row.note for row in rows[2:]}
    assert published == {
        ("finetune", "2023"): "",
        ("finetune", "2022"): "another generation",
        ("linear", "unknown"): "generation unknown",
    }
    assert rows[2].model == "ATST-Clip"
    assert "another generation" in (tmp_path / "out" / "table.md").read_text()
    with (tmp_path / "out" / "table.csv").open(newline="") as file:
        assert [row["note"] for row in csv.DictReader(file)] == [row.note for row in rows]


def test_a_fine_tuning_that_is_none_or_of_another_task_is_named(tmp_path, labelled):
    text = f"models: [logmel]\ntasks: ['{labelled}/meta.csv']\nfinetuned: [{tmp_path}]"
    with pytest.raises(UsageError, match="not the --out folder of a finished atst finetune"):
        evaluate(plan(tmp_path, text), out=tmp_path / "out", cache=False)
    values = {"task": "x", "protocol": "own", "generation": "own", "task_fingerprint": "x 0"}
    (tmp_path / "results.json").write_text(json.dumps(values))
    with pytest.raises(TrainingError, match=r"1 of 2 could not be measured(?s:.*)its task x, as it was then"):
        evaluate(plan(tmp_path, text), out=tmp_path / "out", cache=False)


@pytest.mark.parametrize(("old", "new"), [("300 Hz", "low"), ("0.wav,300 Hz,train", "0.wav,300 Hz,test")])
def test_a_task_whose_labels_or_parts_changed_is_measured_again(tmp_path, labelled, capsys, old, new):
    meta = labelled / f"{tmp_path.name}.csv"
    meta.write_text((labelled / "meta.csv").read_text())
    path = plan(tmp_path, f"models: {{log-mel: logmel}}\ntasks: {{tones: {meta}}}")
    evaluate(path, out=tmp_path / "out", cache=False)
    evaluate(path, out=tmp_path / "out", cache=False)
    assert capsys.readouterr().err.count("log-mel on tones: paper") == 1
    meta.write_text(meta.read_text().replace(old, new))
    evaluate(path, out=tmp_path / "out", cache=False)
    assert "log-mel on tones: paper" in capsys.readouterr().err


def test_what_fails_is_listed_and_the_rest_is_there(tmp_path, labelled):
    text = f"models: [logmel, runs/none]\ntasks: ['{labelled}/meta.csv']"
    with pytest.raises(TrainingError, match=r"1 of 2 could not be measured(?s:.*)runs/none"):
        evaluate(plan(tmp_path, text), out=tmp_path / "out", cache=False)
    assert (tmp_path / "out" / "table.csv").read_text().count("logmel") == 1


def test_a_defect_in_one_probe_does_not_lose_the_rest(tmp_path, labelled, monkeypatch):
    def failing(name, **options):
        if name == "random:nano":
            raise ZeroDivisionError("a defect")
        return load(name, **options)

    load = models.load
    monkeypatch.setattr(models, "load", failing)
    text = f"models: ['random:nano', logmel]\ntasks: ['{labelled}/meta.csv']"
    with pytest.raises(TrainingError, match=r"1 of 2 (?s:.*)random:nano on .*: ZeroDivisionError: a defect"):
        evaluate(plan(tmp_path, text), out=tmp_path / "out", cache=False)
    assert (tmp_path / "out" / "table.csv").read_text().count("logmel") == 1
    assert "ZeroDivisionError" in (tmp_path / "out" / "report.html").read_text()


TUNED = "{protocol: 'finetune:own', max_epochs: 1, epoch_steps: 1, warmup_epochs: 0, workers: 0}"


@pytest.fixture
def crossed(tmp_path, labelled):
    """A plan of probes and a fine-tuning with one label a class and two seeds."""
    text = (
        f"models: {{log-mel: logmel, untrained: 'random:nano'}}\ntasks: {{tones: {labelled}/meta.csv}}\n"
        f"protocols:\n  paper: paper\n  tuned: {TUNED}\nshots: 1\nseeds: [0, 1]"
    )
    return plan(tmp_path, text)


def test_few_labels_fine_tuning_and_seeds_are_crossed(tmp_path, crossed, capsys):
    out = tmp_path / "out"
    rows = evaluate(crossed, out=out, cache=False, device="cpu")
    assert [(row.model, row.setting, row.labels, row.seeds) for row in rows] == [
        ("log-mel", "paper", "shots 1", "0 1"),
        ("untrained", "paper", "shots 1", "0 1"),
        ("untrained", "tuned", "shots 1", "0 1"),
    ]
    printed = capsys.readouterr()
    assert printed.out.startswith("| task | model |")
    assert "log-mel has no weights and was not fine-tuned" in printed.err
    for path in (out / "cells").rglob("results.json"):
        result = json.loads(path.read_text())
        assert {"versions", "device", "precision", "task_fingerprint", "command"} <= result.keys()
        assert result["trained_on"] == "1 training clip of each class"
    results = sorted(out.rglob("results.json"))
    assert [path.parent.name for path in results] == ["seed-0", "seed-1"] * 3
    assert not [*out.rglob("model"), *out.rglob("training")]
    reports = [path.read_text() for path in (out / "cells").rglob("report.html")]
    assert len(reports) == 6
    assert not any("Map of the embeddings" in page for page in reports)
    times = [path.stat().st_mtime_ns for path in results]
    assert evaluate(crossed, out=out, cache=False, device="cpu") == rows
    assert [path.stat().st_mtime_ns for path in results] == times


def test_a_fine_tuning_of_other_settings_takes_the_place_of_the_old_one(tmp_path, labelled, capsys):
    text = f"models: ['random:nano']\ntasks: {{tones: {labelled}/meta.csv}}\nprotocols:\n  tuned: {TUNED}"
    for changed in (text, text.replace("epoch_steps: 1", "epoch_steps: 2")):
        evaluate(plan(tmp_path, changed), out=tmp_path / "out", device="cpu")
        assert "1 of 1: random:nano on tones: tuned" in capsys.readouterr().err
    [path] = tmp_path.rglob("results.json")
    assert json.loads(path.read_text())["settings"]["epoch_steps"] == 2


def test_a_dry_run_shows_what_is_there_and_writes_nothing(tmp_path, crossed, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    options = {"out": tmp_path / "out", "cache": False, "device": "cpu"}
    assert evaluate(crossed, dry_run=True, **options) == []
    printed = capsys.readouterr().out
    assert "0 of 6 measurements are done" in printed
    assert printed.count("to do") == 6
    assert not (tmp_path / "out").exists()
    monkeypatch.setattr("atst.commands.evaluate.finetune", interrupted)
    with pytest.raises(KeyboardInterrupt, match="The same command goes on where it stopped"):
        evaluate(crossed, **options)
    capsys.readouterr()
    [*_, last] = evaluate(crossed, dry_run=True, **options)
    assert last.setting == "paper"
    printed = capsys.readouterr().out
    assert "4 of 6 measurements are done" in printed
    assert printed.count("to do") == printed.count("interrupted") == 1


def interrupted(task, **options):
    raise KeyboardInterrupt


def test_a_dry_run_names_what_cannot_be_measured(tmp_path, labelled, capsys):
    path = plan(tmp_path, f"models: [logmel, runs/none]\ntasks: [{labelled}/meta.csv]\nseeds: [0, 1]")
    with pytest.raises(TrainingError, match=r"2 of 4 could not be measured(?s:.*)runs/none.*\(2 times\)"):
        evaluate(path, out=tmp_path / "out", dry_run=True)
    assert "0 of 4 measurements are done" in capsys.readouterr().out


def test_a_wrong_recipe_key_is_named_before_anything_is_measured(tmp_path, labelled):
    models = f"models: ['random:nano']\ntasks: [{labelled}/meta.csv]"
    text = f"{models}\nprotocols: {{a: {{protocol: finetune, rate: 1}}}}"
    with pytest.raises(UsageError, match=r"plan\.yaml: a: unknown recipe key 'rate'"):
        evaluate(plan(tmp_path, text), out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
