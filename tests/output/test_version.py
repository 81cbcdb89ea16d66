"""Our files say their version: one of a later release is refused in one line, a cache made again."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
import torch

import atst
from atst.evaluation.cells import Bench, matching
from atst.evaluation.plan import Plan, Setting
from atst.finetuning import recipe as finetuning
from atst.finetuning.output import read_result
from atst.library import statistics
from atst.library.library import Library
from atst.model.classifier import Classifier, Head
from atst.pretraining import recipe as recipes
from atst.training.checkpoints import read_state

LATER = r"format version 2; this release of atst reads 1 at most"


def change(path: Path, **values: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def library(path: Path, **about: Any) -> Path:
    known = {"model": "logmel", "fingerprint": "1", **about}
    rows = pa.FixedSizeListArray.from_arrays(pa.array([1.0, 2.0, 3.0, 5.0], pa.float32()), 2)
    table = pa.table({"path": ["a.wav", "b.wav"], "embedding": rows})
    pq.write_table(table.replace_schema_metadata({"atst": json.dumps(known)}), path)
    return path


def test_a_model_folder(tmp_path: Path) -> None:
    atst.load("random:nano").save(tmp_path / "model")
    config = tmp_path / "model" / "config.json"
    assert json.loads(config.read_text())["format_version"] == 1
    change(config, format_version=2, what_is_new=True)
    with pytest.raises(atst.ModelError, match=rf"config\.json: {LATER}"):
        atst.load(tmp_path / "model")


def test_a_classifier(tmp_path: Path) -> None:
    head = Head([(torch.zeros(2, 128), torch.zeros(2))])
    how = {"layers": 1, "pooling": "mean", "clip_seconds": None}
    Classifier(atst.load("logmel"), head, ["a", "b"], False, how).save(tmp_path / "mine", "task", "all")
    labels = tmp_path / "mine" / "labels.json"
    assert json.loads(labels.read_text())["format_version"] == 1
    atst.load_classifier(tmp_path / "mine")
    change(labels, format_version=2)
    with pytest.raises(atst.ModelError, match=rf"labels\.json: {LATER}"):
        atst.load_classifier(tmp_path / "mine")


def test_a_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "step-00000001.ckpt"
    for about in ({}, {"format_version": 1}):
        torch.save({"atst": {"step": 1, "conditions": {}, **about}}, path)
        assert read_state(path)["step"] == 1
    torch.save({"atst": {"step": 1, "conditions": {}, "format_version": 2}}, path)
    with pytest.raises(atst.TrainingError, match=LATER):
        read_state(path)


def test_results(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    path.write_text(json.dumps({"value": 0.5}))  # written before there were versions
    assert matching(tmp_path, {}) == {"value": 0.5}
    change(path, format_version=2)
    for read in (lambda: matching(tmp_path, {}), lambda: read_result(tmp_path)):
        with pytest.raises(atst.UsageError, match=rf"results\.json: {LATER}"):
            read()


@pytest.mark.parametrize("recipe", [recipes.resolve("nano"), finetuning.resolve("", "own")])
def test_a_recipe(tmp_path: Path, recipe: Any) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(recipe.dump())
    assert type(recipe).stored(tmp_path) == recipe
    assert "format_version: 1\n" in path.read_text()
    path.write_text(recipe.dump().replace("format_version: 1\n", ""))  # written before there were versions
    assert type(recipe).stored(tmp_path) == recipe
    path.write_text(recipe.dump().replace("version: 1", "version: 2") + "what_is_new: 1\n")
    with pytest.raises(atst.TrainingError, match=rf"recipe\.yaml: {LATER}"):
        type(recipe).stored(tmp_path)


def test_a_recipe_of_a_run_for_another_run(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(recipes.resolve("nano").dump())
    assert recipes.resolve(path) == recipes.resolve("nano")
    path.write_text("format_version: 2\n")
    with pytest.raises(atst.UsageError, match=rf"mine\.yaml: {LATER}"):
        recipes.resolve(path)


def test_a_cell_of_a_plan(tmp_path: Path) -> None:
    plan = Plan(
        {"log-mel": "logmel"}, {"synthetic": "synthetic"}, [Setting("paper", "paper")], [None], [0], {}
    )
    bench, cell = Bench(plan, tmp_path, None, "cpu", False), next(plan.cells())  # type: ignore[arg-type]
    path = bench.folder(cell) / "cell.json"
    path.parent.mkdir(parents=True)
    wanted = bench._wanted(cell)
    for about in (wanted, {"format_version": 1, **wanted}):
        path.write_text(json.dumps(about))
        assert bench.begun(cell)
    change(path, format_version=2)
    for read in (bench.begun, bench.measure):
        with pytest.raises(atst.UsageError, match=rf"cell\.json: {LATER}"):
            read(cell)


def test_scores(tmp_path: Path) -> None:
    head = Head([(torch.zeros(2, 128), torch.zeros(2))])
    how = {"layers": 1, "pooling": "mean", "clip_seconds": None}
    Classifier(atst.load("logmel"), head, ["a", "b"], False, how).save(tmp_path / "mine", "task", "all")
    soundfile.write(tmp_path / "a.wav", np.full(16000, 0.1), 16000)
    out = tmp_path / "scores.parquet"
    atst.predict([tmp_path / "a.wav"], model=tmp_path / "mine", out=out, quiet=True)
    assert json.loads(pq.read_metadata(out).metadata[b"atst"])["format_version"] == 1


def test_embeddings(tmp_path: Path) -> None:
    assert len(Library(library(tmp_path / "old.parquet"))) == 2
    assert len(Library(library(tmp_path / "now.parquet", format_version=1))) == 2
    with pytest.raises(atst.UsageError, match=rf"later\.parquet: {LATER}"):
        Library(library(tmp_path / "later.parquet", format_version=2))
    with pytest.raises(atst.UsageError, match=r"odd\.parquet: format version 'new'"):
        Library(library(tmp_path / "odd.parquet", format_version="new"))


def test_statistics_of_another_version_are_computed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = library(tmp_path / "sounds.parquet")
    assert np.allclose(Library(path).mean, [2, 3.5])
    kept = tmp_path / ".sounds.parquet.statistics"
    with np.load(kept) as file:
        mark = str(file["mark"])
    with kept.open("wb") as stream:
        np.savez(stream, mark=np.array(mark), mean=np.zeros(2), std=np.ones(2))
    assert np.allclose(Library(path).mean, 0)  # what was kept is taken
    monkeypatch.setattr(statistics, "VERSION", 2)
    assert np.allclose(Library(path).mean, [2, 3.5])
