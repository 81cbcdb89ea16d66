"""The stream of training clips: mixed labels, fair orders, nothing but seed and position."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tones import tone_task

from atst.errors import AudioError
from atst.finetuning import recipe as recipes
from atst.finetuning.augment import mask, mix
from atst.finetuning.clips import Clips
from atst.finetuning.data import AUGMENT, Stream, collate, one_hot, rarity
from atst.finetuning.fit import sizes
from atst.finetuning.module import balancing_weights
from atst.training.augment import draw_crops, resize_crop
from atst.training.loader import Batches, BatchPositions


def stream(task=None, rows=None, per_epoch=24, **changes):
    task = task or tone_task(24)
    plan = recipes.resolve("x", "own", [f"{key}={value}" for key, value in changes.items()])
    rows = np.arange(len(task)) if rows is None else rows
    return Stream(Clips(task), one_hot(task.labels, 3), rows, plan, per_epoch)


@given(st.integers(4, 40), st.integers(4, 40), st.floats(0, 1), st.floats(0, 0.999))
def test_mixup_is_linear_and_its_labels_sum_to_one(frames, others, weight, start):
    first, second = one_hot(np.array([0, 2]), 3)
    mixed, label = mix(torch.ones(2, frames), first, torch.full((2, others), 3.0), second, weight, start)
    assert label.sum() == pytest.approx(1)
    assert mixed.shape == (2, frames)
    span = min(frames, others)
    assert mixed[0].sum() == pytest.approx(span * (weight + 3 * (1 - weight)) + frames - span, rel=1e-4)


def test_labels_of_the_stream_sum_to_one_and_most_are_mixed():
    labels = torch.stack([stream(mixup=10)[position]["label"] for position in range(24)])
    torch.testing.assert_close(labels.sum(1), torch.ones(24))
    assert ((labels > 0).sum(1) > 1).sum() > 8
    plain = torch.stack([stream(mixup=0)[position]["label"] for position in range(24)])
    assert (plain.max(1).values == 1).all()


def test_items_depend_on_seed_and_position_alone():
    first, again, other = stream(), stream(), stream(seed=1)
    for position in (30, 3, 70):
        item = first[position]
        assert torch.equal(item["logmel"], again[position]["logmel"])
        assert torch.equal(item["label"], again[position]["label"])
    assert [first.row(p) for p in range(24)] != [other.row(p) for p in range(24)]


def test_workers_load_the_same_batches():
    batches = [next(iter(Batches(stream(), BatchPositions(4, 2), workers, collate))) for workers in (0, 1)]
    for key in ("logmels", "lengths", "labels"):
        assert torch.equal(batches[0][key], batches[1][key])


def test_an_epoch_has_every_clip_and_the_first_again_to_fill_the_last_batch():
    rows = np.array([3, 5, 8, 11, 17])
    order = [stream(rows=rows, per_epoch=8).row(position) for position in range(16)]
    assert sorted(order[:5]) == sorted(order[8:13]) == rows.tolist()
    assert order[5:8] == order[:3]
    assert order[:5] != order[8:13]


@pytest.mark.parametrize("many", [False, True])
def test_labels_as_a_task_has_them_give_what_dense_ones_give(many, monkeypatch):
    monkeypatch.setattr("atst.finetuning.data.CHUNK", 5)
    monkeypatch.setattr("atst.tasks.task.CHUNK", 5)
    task, rows = tone_task(24), np.arange(3, 20)
    dense = one_hot(task.labels, 3)
    if many:
        dense[::3, 0] = 1
        task = dataclasses.replace(task, labels=dense.numpy().astype(np.uint8))
    plan = recipes.resolve("x", "own", ["balanced=true"])
    expected, found = (Stream(Clips(task), labels, rows, plan, 24) for labels in (dense, task.labels))
    whole = (dense[rows].double() / dense[rows].double().sum(0)).sum(1).numpy()
    assert (found.weights == whole / whole.sum()).all()
    for position in range(24):
        assert torch.equal(expected[position]["label"], found[position]["label"])
        assert torch.equal(expected[position]["logmel"], found[position]["logmel"])
    assert task.class_counts(rows).tolist() == dense[rows].sum(0).tolist()


def test_balanced_drawing_brings_rare_classes_as_often():
    task = tone_task(24)
    task.labels[:] = [0] * 20 + [1] * 3 + [2]
    assert rarity(one_hot(task.labels, 3))[-1] == pytest.approx(1 / 3)
    balanced = stream(task, balanced="true", per_epoch=600)
    drawn = np.bincount([task.labels[balanced.row(position)] for position in range(600)])
    assert (np.abs(drawn - 200) < 50).all()


@pytest.mark.parametrize("balanced", ["true", "false"])
def test_partners_from_all_clips_cost_no_more_orders(monkeypatch, balanced):
    monkeypatch.setattr("atst.finetuning.data.KEPT_ORDERS", 24)
    options = {"mixup": 10, "mixup_probability": 1, "mixup_bank": 0, "balanced": balanced}
    mixed, computed = stream(**options), []
    order = mixed._order
    monkeypatch.setattr(mixed, "_order", lambda epoch: computed.append(epoch) or order(epoch))
    items = [mixed[position] for position in range(24 * 6)]
    assert computed == list(range(6))
    again = stream(**options)
    for position in (100, 7, 143):
        assert torch.equal(items[position]["logmel"], again[position]["logmel"])
        assert torch.equal(items[position]["label"], again[position]["label"])


def test_partners_from_all_clips_are_any_of_the_training_rows_alike_balanced_or_not():
    task, rows = tone_task(24), np.arange(1, 24)
    task.labels[:] = [0] * 20 + [1] * 3 + [2]
    draws = np.linspace(0, 1, 600, endpoint=False)
    for balanced in ("true", "false"):
        mixed = stream(task, rows, mixup_bank=0, balanced=balanced)
        counts = np.bincount([mixed._partner(5, draw, {})[0] for draw in draws])[rows]
        assert counts.min() >= 600 // 23
        assert counts.max() <= 600 // 23 + 1


def test_an_unreadable_partner_is_replaced_by_the_same_one_each_time(monkeypatch):
    mixed, good = stream(mixup_bank=0), Clips.__getitem__

    def item(self, index):
        if index == 7:
            raise AudioError("clip 7 is broken")
        return good(self, index)

    monkeypatch.setattr(Clips, "__getitem__", item)
    unreadable = {}
    first, again = (mixed._partner(5, 7.5 / 24, unreadable)[0] for _ in range(2))
    assert unreadable == {7: "clip 7 is broken"}
    assert first == again != 7


def test_class_weights_count_every_class_alike_and_are_one_on_average():
    labels = one_hot(np.array([0] * 6 + [1] * 2 + [2]), 4)
    weights = balancing_weights(labels.sum(0))
    assert (weights[:3] * labels.sum(0)[:3]).tolist() == pytest.approx([float(weights[2])] * 3)
    assert weights[3] == 0
    assert weights.sum() == pytest.approx(3)


@given(st.floats(0, 0.999), st.floats(0, 0.999))
def test_masks_are_no_larger_than_asked_and_inside(size, place):
    draws = torch.tensor([size, place, size, place], dtype=torch.float64)
    masked = mask(torch.ones(64, 30), (20, 50), draws) == 0
    assert int(masked.all(1).sum()) == int(size * 21) or masked.all()
    assert int(masked.all(0).sum()) == int(size * 31) or masked.all()


def test_an_unreadable_clip_is_replaced_by_the_same_one_each_time_and_named():
    task = tone_task(24)
    good = task.waveform

    def waveform(index):
        if index == 7:
            raise AudioError("clip 7 is broken")
        return good(index)

    object.__setattr__(task, "waveform", waveform)
    broken = stream(task, mixup=0)
    position = next(p for p in range(24) if broken.row(p) == 7)
    first, again = broken[position], broken[position]
    assert first["unreadable"] == {7: "clip 7 is broken"}
    assert torch.equal(first["logmel"], again["logmel"])


def test_clips_beyond_the_memory_are_read_when_asked_for():
    task = tone_task(24)
    kept, unkept = Clips(task), Clips(task, memory=0)
    for clips in (kept, unkept):
        clips.keep(range(6))
    assert (len(kept.places), len(unkept.places)) == (6, 0)
    for index in (0, 5, 9):
        assert torch.equal(kept[index], unkept[index])


@pytest.mark.parametrize(
    ("clips", "devices", "expected"),
    [
        (84843, 4, (32, 4, 166)),
        (84843, 1, (128, 4, 166)),
        (300, 1, (128, 3, 1)),
        (5, 1, (5, 1, 1)),
        (1, 1, (2, 1, 1)),
    ],
)
def test_steps_as_the_authors_and_small_tasks_in_small_batches(clips, devices, expected):
    size = sizes(recipes.resolve("spcv2", "authors2023"), clips, devices)
    assert (size.micro, size.accumulate, size.steps_per_epoch) == expected


def test_an_epoch_of_few_clips_has_steps_enough_to_learn_from():
    size = sizes(recipes.resolve("mine", "own"), 40, 1)
    assert (size.micro, size.steps_per_epoch) == (32, 8)
    orders = stream(rows=np.arange(5), per_epoch=16)
    seen = [orders.row(position) for position in range(16)]
    assert np.bincount(seen).min() == 3


def test_masks_come_before_the_crop():
    item = stream(mixup=0, masks=[20, 50])[5]
    rng = np.random.default_rng((0, AUGMENT, 5))
    clip = Clips(tone_task(24))[stream().row(5)]
    masked = mask(clip, (20, 50), torch.from_numpy(rng.random(4)))
    crops = draw_crops(torch.from_numpy(rng.random((1, 4))), *clip.shape)
    torch.testing.assert_close(item["logmel"], resize_crop(masked[None], crops)[0])


def test_a_partner_is_any_of_the_newest_clips_before():
    mixed = stream(mixup_bank=10)
    partners = [mixed._partner(30, draw, {})[0] for draw in np.linspace(0, 1, 100, endpoint=False)]
    assert sorted(partners) == sorted(10 * [mixed.row(position) for position in range(20, 30)])
    assert {mixed._partner(1, draw, {})[0] for draw in (0, 0.5, 0.999)} == {mixed.row(0)}


def test_on_audioset_2m_every_other_clip_is_mixed():
    task = tone_task(24)
    names = [str(i) for i in range(24)]
    apart = dataclasses.replace(task, labels=np.arange(24), label_names=names)
    clips = Clips(apart)
    clips.keep(range(24))
    plan = recipes.resolve("audioset2m", "authors2023", ["resize_crop=false"])
    drawn = Stream(clips, apart.labels, np.arange(24), plan, 600)
    mixed = sum(float(drawn[position]["label"].max()) < 1 for position in range(600))
    assert mixed / 600 == pytest.approx(0.5 * 23 / 24, abs=0.08)  # a clip may be its own partner


def test_clips_without_a_label_weigh_as_a_class():
    weights = rarity(np.array([[1, 0], [1, 0], [0, 1], [0, 0], [0, 0], [0, 0], [0, 0]], dtype=np.uint8))
    np.testing.assert_allclose(weights, np.array([1 / 2, 1 / 2, 1, *[1 / 4] * 4]) / 3)
