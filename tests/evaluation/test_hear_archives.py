"""`benchmarks/hear.py` on a miniature of HEAR's archives."""

import json
import runpy
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
import soundfile

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "hear.py"


def archive(folder: Path, name: str, about: dict, splits: dict[str, dict[str, list]]) -> None:
    task = folder / "made" / "tasks" / name
    draws = np.random.default_rng(0)
    for split, clips in splits.items():
        sound = task / "48000" / split
        sound.mkdir(parents=True)
        (task / f"{split}.json").write_text(json.dumps(clips))
        for clip, labels in clips.items():
            level = 0.01 if "soft" in str(labels) else 0.5
            soundfile.write(sound / clip, level * draws.standard_normal(24000), 48000)
    (task / "task_metadata.json").write_text(json.dumps(about | {"splits": list(splits)}))
    with tarfile.open(folder / f"hear2021-{name}.tar.gz", "w:gz") as tar:
        tar.add(folder / "made", "hear-2021.0.6")


def clips(count: int, labels: list[list]) -> dict[str, list]:
    return {f"{i}.wav": labels[i % len(labels)] for i in range(count)}


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> None:
    monkeypatch.setattr(sys, "argv", ["hear.py", *map(str, arguments)])
    runpy.run_path(str(SCRIPT), run_name="__main__")


@pytest.fixture
def archives(tmp_path, monkeypatch) -> Path:
    """One task of clips, one of events."""
    monkeypatch.setenv("COLUMNS", "200")
    scene = {"embedding_type": "scene", "prediction_type": "multiclass", "evaluation": ["top1_acc"]}
    splits = {name: clips(8, [["soft"], ["loud"]]) for name in ("train", "valid", "test")}
    archive(tmp_path / "a", "noises-v1-full", scene, splits)
    event = scene | {"embedding_type": "event", "evaluation": ["event_onset_200ms_fms"]}
    archive(tmp_path / "b", "office-v1-full", event, {"train": clips(1, [[{"label": "x", "start": 0}]])})
    return tmp_path


def test_tasks_are_listed(archives, monkeypatch, capsys):
    run(monkeypatch, archives / "a", "--out", archives / "out")
    run(monkeypatch, archives / "b", "--out", archives / "out")
    text = capsys.readouterr().out
    assert "labels have times" in text
    assert "24" in text


@pytest.mark.full
def test_tasks_of_clips_are_run(archives, monkeypatch, capsys):
    monkeypatch.setattr("atst.evaluation.hear.DRAWN", 1)
    monkeypatch.setattr("atst.evaluation.mlp.EPOCHS", 3)
    run(monkeypatch, archives, "--model", "logmel", "--out", archives / "out")
    result = json.loads((archives / "out" / "noises-v1-full" / "probe" / "results.json").read_text())
    assert result["protocol"] == "hear"
    assert f"{result['value']:.4f}" in capsys.readouterr().out


def test_folds_and_several_labels_become_a_table(tmp_path):
    about = {"embedding_type": "scene", "prediction_type": "multilabel", "evaluation": ["mAP"]}
    archive(tmp_path, "many-v1", about, {f"fold0{i}": clips(2, [["a", "b"], []]) for i in range(3)})
    task = runpy.run_path(str(SCRIPT))["HearTask"].read(tmp_path / "made" / "tasks" / "many-v1")
    rows = task.table(tmp_path / "meta.csv").read_text().splitlines()
    assert rows[0] == "path,labels,fold"
    assert [row.split(",")[1:] for row in rows[1:]] == [
        [label, str(i)] for i in range(3) for label in ("a;b", "")
    ]


def test_a_folder_without_tasks_is_said(tmp_path, monkeypatch):
    with pytest.raises(SystemExit, match="no task of HEAR; found nothing"):
        run(monkeypatch, tmp_path)
