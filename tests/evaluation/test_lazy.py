"""Features on disk: the same numbers as in memory, in little of it."""

import dataclasses
import resource
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from tones import SpectrumModel, tone_task

from atst.evaluation import features, lazy, mlp, result, store, sweep
from atst.evaluation.features import prepare
from atst.evaluation.few_shot import few_shot_probe
from atst.evaluation.hear import hear_probe
from atst.evaluation.linear import linear_probe
from atst.evaluation.report import write_probe
from atst.scoring import metrics
from atst.scoring.splits import FewShot
from atst.tasks import Task


@pytest.fixture
def on_disk(tmp_path, monkeypatch):
    """Makes every task too large for memory, and passes over it take several splits."""
    monkeypatch.setenv("ATST_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(store, "IN_MEMORY", 0)
    monkeypatch.setattr(lazy, "CHUNK", 17 * 16 * 4)
    monkeypatch.setattr(metrics, "AT_ONCE", 40)
    monkeypatch.setattr(sweep, "AT_ONCE", 40)


def two_labels(task):
    labels = np.stack([task.labels == 0, task.labels != 1], axis=1).astype(np.uint8)
    return dataclasses.replace(task, labels=labels, label_names=["low", "not the middle"])


def same(one, other):
    assert isinstance(one.data.features, lazy.LazyFeatures)
    assert [choice.learning_rate for choice in one.result.selected] == [
        choice.learning_rate for choice in other.result.selected
    ]
    assert one.result.value == pytest.approx(other.result.value, abs=1e-6)
    assert one.result.knn == other.result.knn
    torch.testing.assert_close(one.tested.logits, other.tested.logits, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize(
    "task",
    [tone_task(60), tone_task(60, folds=3), two_labels(tone_task(60))],
    ids=["split", "folds", "two labels"],
)
def test_a_linear_probe_from_disk_equals_one_in_memory(on_disk, task):
    probe = linear_probe(prepare(SpectrumModel(), task, device="cpu"))
    same(probe, linear_probe(prepare(SpectrumModel(), task, cache=False, device="cpu")))


def test_a_shallow_network_from_disk_equals_one_in_memory(on_disk, monkeypatch):
    monkeypatch.setattr(mlp, "WIDTH", 16)
    monkeypatch.setattr(mlp, "EPOCHS", 6)
    task = tone_task(60)
    probe = hear_probe(prepare(SpectrumModel(), task, device="cpu"))
    same(probe, hear_probe(prepare(SpectrumModel(), task, cache=False, device="cpu")))


def test_few_labels_from_disk_equal_those_in_memory(on_disk, tmp_path):
    task, few_shot = tone_task(60), FewShot(shots=4)
    probe = few_shot_probe(prepare(SpectrumModel(), task, few_shot=few_shot, device="cpu"), seeds=2)
    same(
        probe,
        few_shot_probe(prepare(SpectrumModel(), task, few_shot=few_shot, cache=False, device="cpu"), seeds=2),
    )
    write_probe(probe, tmp_path / "out")
    assert (tmp_path / "out" / "results.json").is_file()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits the memory that is not of files")
def test_features_on_disk_take_little_memory(tmp_path, monkeypatch):
    n, width, room = 900, 2**15, 60 * 2**20  # 112 MiB of features, in 60 MiB
    monkeypatch.setattr(store, "IN_MEMORY", 0)
    monkeypatch.setattr(lazy, "CHUNK", room // 16)
    monkeypatch.setattr(features, "SHARD", 32)
    monkeypatch.setenv("ATST_CACHE", str(tmp_path))
    task = Task(
        name="wide",
        names=[""] * n,
        labels=np.arange(n) % 2,
        label_names=["even", "odd"],
        splits=np.array(["train", "valid", "test"])[np.arange(n) // 2 % 3],
        waveform=lambda i: np.array([i], np.float32),
    )
    noise = np.random.default_rng(0).standard_normal(width, dtype=np.float32)

    class Wide:
        name = fingerprint = "wide"
        depth = 1

        def embed(self, sound, **options):
            return np.stack([np.roll(noise, int(clip[0])) + 2 * (clip[0] % 2) - 1 for clip in sound])

    limits = resource.getrlimit(resource.RLIMIT_DATA)
    in_use = int(Path("/proc/self/status").read_text().partition("VmData:")[2].split()[0]) * 1024
    resource.setrlimit(resource.RLIMIT_DATA, (in_use + room, limits[1]))
    try:
        data = prepare(Wide(), task, cache=True, device="cpu")
        splits = data.splits
        train, valid = torch.from_numpy(splits.train), torch.from_numpy(splits.holdouts[:, :, 0])
        swept = sweep.train(
            data.features, data.labels, 2, train, torch.tensor([[0.01]]), valid_rows=valid, epochs=2, batch=64
        )
        test = splits.test[:, 0]
        assert metrics.accuracy(data.logits(swept.heads.head(0), test), data.labels_of(test)) > 0.95
        assert result._knn(data)["value"] > 0.95
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, limits)
