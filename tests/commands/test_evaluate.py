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
    assert "log-mel on two | tones" in capsys.readouterr().err.splitlines()
    assert evaluate(plan(tmp_path, text), out=tmp_path / "out", cache=False) == rows
    assert "log-mel on two | tones" not in capsys.readouterr().err.splitlines()


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
    assert capsys.readouterr().err.splitlines().count("log-mel on tones") == 1
    meta.write_text(meta.read_text().replace(old, new))
    evaluate(path, out=tmp_path / "out", cache=False)
    assert "log-mel on tones" in capsys.readouterr().err.splitlines()


@pytest.mark.parametrize("text", ["models: [a/b, a-b]\ntasks: [x]", "models: [x]\ntasks: {a/b: x, a-b: y}"])
def test_two_names_of_one_folder_are_refused(tmp_path, text):
    with pytest.raises(UsageError, match="'a/b' and 'a-b' would share the folder 'a-b'"):
        evaluate(plan(tmp_path, text), out=tmp_path / "out")


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


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model: [logmel]", "Did you mean 'models'"),
        ("models: []\ntasks: [esc50]", "'models' must be"),
        ("- logmel", "give 'models:'"),
        ("models: [", "not valid YAML"),
        ("models: [logmel]\ntasks: [esc50]\nseed: -1", "seed must be"),
    ],
)
def test_a_wrong_plan_is_named(tmp_path, text, message):
    with pytest.raises(UsageError, match=message):
        evaluate(plan(tmp_path, text), out=tmp_path / "out")


def test_a_missing_plan(tmp_path):
    with pytest.raises(UsageError, match="cannot be read"):
        evaluate(tmp_path / "none.yaml", out=tmp_path / "out")
