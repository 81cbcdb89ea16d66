"""Features kept on disk by several writers, in many files."""

import resource
from pathlib import Path

import numpy as np

from atst.evaluation import store
from atst.evaluation.store import Store


def test_two_writers_add_to_one_store(tmp_path):
    one, other = Store(tmp_path), Store(tmp_path)
    one.add(["a"], np.zeros((1, 3), np.float32))
    other.add(["b", "c"], np.ones((2, 3), np.float32))
    one.add(["d"], np.full((1, 3), 2, np.float32))
    both = Store(tmp_path)
    assert both.features(["b", "a", "d", "c"])[:, 0].tolist() == [1, 0, 2, 1]
    assert one.features(["d", "a"])[:, 0].tolist() == [2, 0]
    assert "b" not in one
    assert "e" not in both


def test_a_cache_of_many_files_needs_few_open_ones(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "IN_MEMORY", 0)
    keys = [f"key{number}" for number in range(80)]
    for number, key in enumerate(keys):
        Store(tmp_path).add([key], np.full((1, 4), number, np.float32))
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(list(Path("/dev/fd").iterdir())) + 30, limits[1]))
    try:
        values = Store(tmp_path).features(keys)[list(range(79, -1, -1))]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert values[:, 3].tolist() == list(range(79, -1, -1))
