"""HEAR's protocol: shallow networks, a grid, early stopping; and that test clips stay out of all choices."""

import csv
import dataclasses
import html
import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tones import SpectrumModel, tone, tone_files, tone_task

import atst
from atst.evaluation import mlp
from atst.evaluation.features import prepare
from atst.evaluation.hear import DRAWN, drawn_points, hear_probe
from atst.evaluation.linear import linear_probe
from atst.evaluation.mlp import GRID, Point
from atst.evaluation.report import write_probe
from atst.tasks import Task


def make_narrow(patch):
    """Networks that train in a moment; what they cost is not tested here."""
    patch.setattr(mlp, "WIDTH", 32)
    patch.setattr(mlp, "EPOCHS", 30)


@pytest.fixture(autouse=True)
def narrow(monkeypatch):
    make_narrow(monkeypatch)


def run(task, **options):
    return hear_probe(prepare(SpectrumModel(), task, cache=False, device="cpu", **options))


class TwoBands(SpectrumModel):
    """The log energies about 750 and 5250 Hz."""

    def embed(self, sound, **options):
        return super().embed(sound, **options)[:, [1, 10]]


def one_or_the_other(n=160) -> Task:
    """Whether exactly one of two tones is there: no linear function of their energies tells."""
    low, high = np.arange(n) % 2, np.arange(n) // 2 % 2
    parts = np.array(["train", "valid", "train", "test"])[np.arange(n) // 4 % 4]
    return Task(
        name="one or the other",
        names=[f"clip {i}" for i in range(n)],
        labels=low ^ high,
        label_names=["both or none", "one"],
        splits=parts,
        waveform=lambda i: low[i] * tone(700, i) + high[i] * tone(5200, i + n) + tone(3000, i + 2 * n),
    )


def two_labels(task):
    """The class of each clip, and whether it is the first."""
    labels = np.zeros((len(task), 4), dtype=np.uint8)
    labels[np.arange(len(task)), task.labels] = 1
    labels[:, 3] = task.labels == 0
    return dataclasses.replace(task, labels=labels, label_names=[*task.label_names, "lowest"])


def test_it_learns_what_no_linear_classifier_can(monkeypatch):
    monkeypatch.setattr(mlp, "EPOCHS", 90)
    task = one_or_the_other()
    linear = linear_probe(prepare(TwoBands(), task, cache=False, device="cpu")).result
    result = hear_probe(prepare(TwoBands(), task, cache=False, device="cpu")).result
    assert linear.value < 0.8
    assert result.value > 0.95
    assert result.ci[0] <= result.value <= result.ci[1]
    assert (result.protocol, result.classifier) == ("hear", f"MLP {result.selected[0].hidden} x 32")
    assert result.description == f"hear: 3 blocks, published pooling, {result.classifier}"


def test_the_best_of_the_drawn_points_is_taken():
    result = run(tone_task()).result
    points = [Point(own.hidden, own.learning_rate, own.init) for own in result.tried]
    assert points == drawn_points(0) != drawn_points(1)
    assert len(set(points)) == DRAWN == len(GRID) / 2
    choice = result.selected[0]
    assert (choice.hidden, choice.learning_rate, choice.init) in map(dataclasses.astuple, points)
    assert choice.valid == max(own.valid for own in result.tried)
    assert choice.clips == {"train": 60, "valid": 30, "test": 30}


def test_the_same_seed_gives_the_same_numbers():
    before = torch.random.get_rng_state()
    one, same, other = (run(tone_task(), seed=seed) for seed in (5, 5, 6))
    assert dataclasses.asdict(one.result) == dataclasses.asdict(same.result)
    assert torch.equal(one.tested.logits, same.tested.logits)
    assert not torch.equal(one.tested.logits, other.tested.logits)
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize("valid", [True, False])
def test_test_labels_do_not_touch_what_is_chosen_or_trained(valid):
    task = tone_task(valid=valid)
    test = np.flatnonzero(task.splits == "test")
    labels = task.labels.copy()
    labels[test] = np.random.default_rng(0).permutation(labels[test])
    one, other = run(task), run(dataclasses.replace(task, labels=labels))
    assert one.result.tried == other.result.tried
    assert dataclasses.replace(other.result.selected[0], value=one.result.value) == one.result.selected[0]
    assert torch.equal(one.tested.logits, other.tested.logits)
    assert torch.equal(one.kept.head.layers[0][0], other.kept.head.layers[0][0])
    assert other.result.value < 0.7


@pytest.mark.parametrize("folds", [2, 4])
def test_with_folds_the_first_chooses_the_point_and_all_are_tested(folds):
    probe = run(tone_task(folds=folds))
    result = probe.result
    assert [choice.fold for choice in result.selected] == list(range(1, folds + 1))
    assert len({(choice.hidden, choice.learning_rate, choice.init) for choice in result.selected}) == 1
    assert result.value == pytest.approx(np.mean([choice.value for choice in result.selected]))
    assert result.value > 0.95
    assert "with the first test fold only" in result.selected_on
    assert "without those held out" in result.trained_on
    assert "folds' median" in probe.kept.trained_on
    assert sorted(probe.tested.rows) == list(range(120))


def test_labels_of_the_first_fold_touch_neither_the_point_nor_its_head():
    task = tone_task(folds=4)
    first = task.folds == 1
    labels = np.where(first, (task.labels + 1) % 3, task.labels)
    one, other = run(task), run(dataclasses.replace(task, labels=labels))
    assert one.result.tried == other.result.tried
    assert torch.equal(one.tested.logits[: first.sum()], other.tested.logits[: first.sum()])


def test_multi_label_tasks_are_measured_by_map(tmp_path):
    probe = run(two_labels(tone_task()))
    assert probe.result.metric == "mAP"
    assert probe.result.value > 0.95
    write_probe(probe, tmp_path)
    assert ";lowest" in (tmp_path / "predictions.csv").read_text()


def test_training_stops_after_20_validations_without_a_better_metric(monkeypatch):
    monkeypatch.setattr(mlp, "EPOCHS", 500)
    labels = torch.arange(40) % 2
    features = torch.nn.functional.one_hot(labels, 2).float()
    rows = torch.arange(40) < 20
    trained = mlp.train(features, labels, 2, Point(1, 1e-3, "xavier_normal"), rows, ~rows)
    assert trained.metric == 1.0
    assert trained.valid_metric.index(1.0) + 1 == trained.epoch / 3
    assert len(trained.train_loss) == trained.epoch + 60 < 500


@pytest.mark.parametrize("hidden", [1, 2])
def test_kept_layers_are_the_network_in_eval_mode(hidden):
    torch.manual_seed(0)
    network = mlp._network(5, 3, Point(hidden, 1e-3, "xavier_uniform"))
    for _ in range(3):
        network(torch.randn(20, 5) * 3 + 1)  # moves the running statistics
    for layer in network:
        if isinstance(layer, torch.nn.BatchNorm1d):
            torch.nn.init.normal_(layer.weight)
            torch.nn.init.normal_(layer.bias)
    x = torch.randn(7, 5)
    head = mlp.folded(network)
    assert len(head.layers) == hidden + 1
    torch.testing.assert_close(head.logits(x), network.eval()(x), atol=1e-5, rtol=1e-5)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """What the command leaves in its --out folder, beside its table."""
    folder = tmp_path_factory.mktemp("tones")
    with pytest.MonkeyPatch.context() as patch:
        make_narrow(patch)
        options = {"model": "random:nano", "protocol": "hear", "device": "cpu", "cache": False}
        atst.probe(tone_files(folder, 32), out=folder / "out", **options)
    return folder / "out"


def test_a_saved_classifier_scores_as_the_probe_did(saved):
    head = load_file(saved / "model" / "head.safetensors")
    assert head["hidden.0.weight"].shape == (32, 2 * 4 * 128)
    assert head["weight"].shape == (2, 32)
    classifier = atst.load_classifier(saved)
    with (saved / "predictions.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 8
    for row in rows:
        scores = classifier.predict(saved.parent / row["path"])
        assert next(iter(scores)) == row["prediction"]
        assert scores[row["prediction"]] == pytest.approx(float(row["score"]), abs=1e-4)
    results = json.loads((saved / "results.json").read_text())
    assert results["protocol"] == "hear"
    assert len(results["tried"]) == DRAWN
    page = (saved / "report.html").read_text()
    assert "HEAR's protocol" in html.unescape(page)
    assert "hidden layers" in page


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("hidden.0.weight", (32, 7), "hidden layer 0"),
        ("hidden.0.bias", (31,), "hidden layer 0"),
        ("weight", (2, 31), "the head's weight is"),
        ("bias", (3,), "its bias"),
        ("hidden.0.bias", None, "hidden.0.bias"),
    ],
)
def test_a_head_whose_layers_do_not_fit_is_one_line(saved, tmp_path, name, shape, message):
    shutil.copytree(saved / "model", tmp_path / "model")
    path = tmp_path / "model" / "head.safetensors"
    head = load_file(path)
    del head[name]
    save_file(
        head | ({"hidden.0.more": torch.zeros(1)} if shape is None else {name: torch.zeros(shape)}), path
    )
    with pytest.raises(atst.ModelError, match=message) as error:
        atst.load_classifier(tmp_path)
    assert "\n" not in str(error.value)


def test_usage_errors(tmp_path):
    table = tone_files(tmp_path, 16)
    for options in ({"shots": 2}, {"fraction": 0.5}):
        with pytest.raises(atst.UsageError, match="HEAR has no few-shot setting"):
            atst.probe(table, model="logmel", protocol="hear", **options)
    task = tone_task(8)
    task = dataclasses.replace(task, splits=np.array(["train", "valid", "test", *["valid"] * 5]))
    with pytest.raises(atst.TrainingError, match="two training clips"):
        run(task)


def test_a_plan_of_evaluate_may_ask_for_it(tmp_path):
    tone_files(tmp_path, 32)
    plan = tmp_path / "plan.yaml"
    lines = f"models: [logmel]\ntasks: {{tones: '{tmp_path}/meta.csv'}}\n"
    plan.write_text(lines)
    (linear,) = atst.evaluate(plan, out=tmp_path / "out", cache=False)
    plan.write_text(lines + "protocols: hear\n")
    (row,) = atst.evaluate(plan, out=tmp_path / "out", cache=False)
    assert linear.protocol.startswith("linear: ")
    assert row.protocol.startswith("hear: ")
    assert "MLP" in row.protocol
    plan.write_text(lines + "protocols: here\n")
    with pytest.raises(atst.UsageError, match="Did you mean 'hear'"):
        atst.evaluate(plan, out=tmp_path / "out")
