"""The map of the embeddings names every class."""

import dataclasses

import numpy as np
from tones import SpectrumModel, tone_task

from atst.evaluation.features import prepare
from atst.evaluation.linear import linear_probe
from atst.evaluation.report import _map


def test_every_name_is_in_the_legend_of_the_map():
    task = dataclasses.replace(tone_task(36), label_names=["_background_", "b$^$", "plain"])
    shown = (
        _map(linear_probe(prepare(SpectrumModel(), task, cache=False, device="cpu")))
        .figure.axes[0]
        .get_legend()
    )
    names = [text.get_text().strip("\u200b") for text in shown.get_texts()]
    assert names == [
        "_background_",
        r"b\$^\$",
        "plain",
    ]


def test_clips_of_no_class_are_a_colour_of_the_map():
    task = tone_task(60, classes=2)
    task = dataclasses.replace(task, labels=(task.labels == 0).astype(np.uint8)[:, None], label_names=["low"])
    shown = (
        _map(linear_probe(prepare(SpectrumModel(), task, cache=False, device="cpu")))
        .figure.axes[0]
        .get_legend()
    )
    assert [text.get_text() for text in shown.get_texts()] == ["low", "none"]
