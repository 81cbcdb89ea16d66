"""The loop: what is asked for, undo and skip, the classifier and its accuracy."""

import dataclasses

import made
import numpy as np
import pytest

from atst.errors import UsageError
from atst.library.label_table import LabelTable
from atst.library.labelling import Labelling
from atst.library.learning import Accuracy, learn
from atst.library.library import Library
from atst.library.picking import DOUBTFUL, RANDOM, Picker


@pytest.fixture
def labelling(tmp_path, tones, vectors):
    return start(tmp_path, tones, vectors)


def start(tmp_path, tones, vectors, classes=("high", "low"), **options):
    library = made.write(tmp_path / "lib.parquet", vectors, [str(path) for path in tones])
    table = LabelTable(tmp_path / "meta.csv", **options)
    return Labelling(Library(library), table, classes)


def said(labelling) -> str:
    """What the current stretch is, by its name."""
    return labelling.place(labelling.current)[0].name.split("_")[0]


def test_all_are_asked_for_once(labelling):
    asked = []
    while labelling.current is not None:
        asked.append(labelling.current)
        labelling.label(labelling.current, [said(labelling)])
        labelling.train()
    assert sorted(asked) == list(range(24))
    state = labelling.state()
    assert (state["row"], state["left"], state["labelled"], state["held"]) == (None, 0, 24, 4)
    right, total, low, high = state["accuracy"]
    assert (right, total, high) == (4, 4, 1.0)
    assert 0.5 < low < 0.6  # Wilson's interval of 4 of 4
    assert state["trained"] == 24


def test_the_doubtful_and_any_take_turns(labelling):
    reasons = []
    for _ in range(12):
        labelling.label(labelling.current, [said(labelling)])
        labelling.train()
        reasons.append(labelling.reason)
    assert reasons.count(DOUBTFUL) >= 4
    assert reasons.count(RANDOM) >= 4


def test_undo_takes_back_one_after_the_other(labelling):
    first, second = [], []
    for asked in (first, second):
        asked.append(labelling.current)
        labelling.label(labelling.current, ["low"])
    labelling.undo()
    assert labelling.current == second[0]
    labelling.undo()
    assert labelling.current == first[0]
    assert labelling.table.rows == []
    labelling.undo()
    assert labelling.current == first[0]
    assert labelling.state()["undo"] is False


def test_skipped_stretches_do_not_come_again(labelling):
    for _ in range(24):
        labelling.skip(labelling.current)
    assert labelling.current is None
    assert labelling.table.rows == []


def test_what_the_table_has_is_not_asked_for(tmp_path, tones, vectors, labelling):
    for _ in range(10):
        labelling.label(labelling.current, [said(labelling)])
    again = Labelling(labelling.library, LabelTable(tmp_path / "meta.csv"), [])
    assert again.known.keys() == labelling.known.keys()
    assert again.current not in labelling.known
    again.train()
    assert again.trained.labels == 10


def test_classes_can_be_added_and_have_keys(labelling):
    for name in ("hum", "high", "ghi", "ä"):
        labelling.add_class(name)
    keys = {one["name"]: one["key"] for one in labelling.state()["classes"]}
    assert keys == {"high": "h", "low": "l", "hum": "u", "ghi": "g", "ä": "a"}
    labelling.label(labelling.current, ["hum"])


@pytest.mark.parametrize("name", ["", " ", "a;b", "a\nb", "a\0", "\ud800", "\x1b[31m"])
def test_names_that_a_table_cannot_hold(labelling, name):
    with pytest.raises(UsageError, match="cannot be a class"):
        labelling.add_class(name)


def test_only_what_is_asked_for_can_be_labelled(labelling):
    with pytest.raises(UsageError, match="not the one that is asked for"):
        labelling.label(labelling.current + 1, ["low"])
    with pytest.raises(UsageError, match="no such class"):
        labelling.label(labelling.current, ["none of these"])
    with pytest.raises(UsageError, match="one class a stretch"):
        labelling.label(labelling.current, ["low", "high"])


def test_one_class_and_no_recording(tmp_path, tones, vectors):
    with pytest.raises(UsageError, match="two or more are needed"):
        start(tmp_path, tones, vectors, ["one"])
    for path in tones:
        path.unlink()
    with pytest.raises(UsageError, match="none of its recordings is there"):
        start(tmp_path, tones, vectors)


def test_recordings_that_a_table_cannot_name_are_left_out(tmp_path, tones, vectors):
    paths = [str(path) for path in tones]
    bytes_name = tones[0].rename(tones[0].with_name("low_\udcff.wav"))
    paths[0] = str(bytes_name).replace("\udcff", "\N{REPLACEMENT CHARACTER}")
    tones[1].unlink()
    library = Library(made.write(tmp_path / "lib.parquet", vectors, paths))
    labelling = Labelling(library, LabelTable(tmp_path / "meta.csv"), ["a", "b"])
    assert len(labelling.rows) == 22
    assert labelling.state()["missing"] == 1


def test_several_labels_or_none(tmp_path, tones, vectors):
    labelling = start(tmp_path, tones, vectors, ["high", "any"], multi_label=True)
    for _ in range(16):
        labelling.label(labelling.current, ["any", "high"] if said(labelling) == "high" else [])
        labelling.train()
    learned = labelling.trained.learned
    assert learned.classes == ["any", "high"]
    assert labelling.trained.accuracy.right == labelling.trained.accuracy.total


@pytest.mark.parametrize("kinds", [2, 3])
@pytest.mark.parametrize("count", [12, 90])  # fewer clips than features, and more
def test_the_head_scores_features_as_they_are(kinds, count):
    rng = np.random.default_rng(0)
    x = rng.normal(3, 2, (count, 30)).astype(np.float32)
    names = [[f"class {i % kinds}"] for i in range(count)]
    x[:, 0] += 5 * (np.arange(count) % kinds)
    mean, std = x.mean(0), x.std(0)
    learned = learn((x - mean) / std, names, False)
    import torch

    logits = learned.head(mean, std).logits(torch.from_numpy(x).double())
    np.testing.assert_allclose(logits.softmax(1), learned.scores((x - mean) / std), atol=1e-4)
    assert learned.accuracy((x - mean) / std, names) == Accuracy(count, count)


def test_there_is_nothing_to_learn_from_one_class():
    x = np.zeros((4, 3), np.float32)
    assert learn(x, [["a"]] * 4, False) is None
    assert learn(x, [["a"]] * 4, True) is None
    assert learn(x[:0], [], False) is None


def test_doubt_is_greatest_between_the_classes():
    x = np.linspace(-2, 2, 41, dtype=np.float32)[:, None]
    learned = learn(x[[0, 1, 39, 40]], [["a"], ["a"], ["b"], ["b"]], False)
    picker = Picker(x, random_every=3)
    picker.follow(learned)
    assert picker.next(np.ones(41, bool)) == (20, DOUBTFUL)
    free = np.arange(41) != 20
    assert picker.next(free)[0] in (19, 21)
    assert picker.next(free)[1] == RANDOM
    assert picker.next(np.zeros(41, bool)) == (None, "")
    unsure = dataclasses.replace(learned, multi_label=True)
    assert unsure.doubts(np.array([[0.5, 1.0], [0.0, 1.0]])).tolist() == [1.0, 0.0]
