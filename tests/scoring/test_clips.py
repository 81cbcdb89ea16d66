"""Classes that no training clip has."""

import dataclasses

import numpy as np
import pytest
from tones import SpectrumModel, tone_task

from atst.evaluation.features import prepare
from atst.evaluation.hear import hear_probe
from atst.evaluation.linear import linear_probe
from atst.scoring.clips import unseen
from atst.scoring.splits import FewShot

ONE = "1 class has test clips but no training clip, for example 'pitch 2': it cannot be predicted."


def without_training_clips(task):
    """The task with the third class in its test split alone."""
    splits = np.where(task.labels == 2, "test", task.splits)
    return dataclasses.replace(task, splits=splits)


def several(task):
    """The task with two labels for each clip of the third class."""
    labels = np.zeros((len(task), 3), dtype=np.uint8)
    labels[np.arange(len(task)), task.labels] = 1
    labels[task.labels == 2, 0] = 1
    return dataclasses.replace(task, labels=labels)


@pytest.mark.parametrize("few_shot", [None, FewShot(shots=2)])
@pytest.mark.parametrize("valid", [True, False])
def test_a_class_without_training_clips_is_warned_of(few_shot, valid):
    task = tone_task(valid=valid)
    options = {"cache": False, "device": "cpu", "few_shot": few_shot}
    assert (
        ONE in linear_probe(prepare(SpectrumModel(), without_training_clips(task), **options)).result.warnings
    )
    warnings = linear_probe(prepare(SpectrumModel(), task, **options)).result.warnings
    assert not [text for text in warnings if "no training clip" in text]


def test_several_labels_a_clip():
    task = without_training_clips(tone_task())
    warnings = linear_probe(
        prepare(SpectrumModel(), several(task), cache=False, device="cpu")
    ).result.warnings
    assert ONE in warnings


def test_hears_protocol(monkeypatch):
    monkeypatch.setattr("atst.evaluation.mlp.WIDTH", 32)
    monkeypatch.setattr("atst.evaluation.mlp.EPOCHS", 30)
    task = without_training_clips(tone_task(48))
    assert ONE in hear_probe(prepare(SpectrumModel(), task, cache=False, device="cpu")).result.warnings


def test_folds_are_counted_together_and_held_out_clips_are_trained_on_by_the_probe():
    task = tone_task(48, folds=4)
    folds = np.where(task.labels == 2, 1, task.folds)
    folds[(task.labels == 1) & (folds > 2)] = 2  # in folds 1 and 2 alone; 2 is held out where 1 is tested
    task = dataclasses.replace(task, folds=folds)
    warnings = linear_probe(prepare(SpectrumModel(), task, cache=False, device="cpu")).result.warnings
    assert [text for text in warnings if "no training clip" in text] == [
        "1 class has test clips but no training clip in some fold, for example 'pitch 2': "
        "it cannot be predicted there."
    ]


def test_two_classes_are_they():
    task, rows = tone_task(12), np.arange(12)
    train, test = (rows[:, None] < 0), (rows[:, None] >= 0)
    train[task.labels == 0] = True
    assert unseen(task, rows, train, test) == [
        "2 classes have test clips but no training clip, for example 'pitch 1': they cannot be predicted."
    ]
