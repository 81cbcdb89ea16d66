"""Recordings are dealt out whole."""

from collections import Counter

import pytest

from atst.errors import UsageError
from atst.events.splits import split_recordings


def test_each_split_has_about_its_share_of_each_label():
    labels = {f"{i}.wav": Counter({"owl" if i % 2 else "cat": 10}) for i in range(100)}
    parts = split_recordings(labels, seed=0)
    for label in ("owl", "cat"):
        counts = Counter(parts[name] for name, own in labels.items() if own[label])
        assert counts == {"train": 30, "valid": 10, "test": 10}
    assert split_recordings(labels, seed=0) == parts
    assert split_recordings(labels, seed=1) != parts


def test_three_recordings_make_three_splits_and_two_are_refused():
    labels = {f"{i}.wav": Counter({"owl": 1}) for i in range(3)}
    assert sorted(split_recordings(labels, 0).values()) == ["test", "train", "valid"]
    with pytest.raises(UsageError, match="2 recordings"):
        split_recordings({name: labels[name] for name in ("0.wav", "1.wav")}, 0)
