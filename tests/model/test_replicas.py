"""Clips embedded side by side are those that one model embeds alone."""

import copy
import threading

import numpy as np
import pytest
import torch

import atst
from atst.cores import in_parallel
from atst.errors import AudioError, UsageError
from atst.model.replicas import MOST, spread


@pytest.fixture(scope="module")
def model():
    return atst.load("random:nano")


@pytest.fixture(scope="module")
def clips():
    """Ten clips of four lengths, one of them longer than a chunk."""
    noise = np.random.default_rng(0)
    lengths = (8000, 16000, 20000, 110000)
    return [noise.normal(0, 0.1, lengths[n % 4]).astype(np.float32) for n in range(10)]


def embed(model, batch):
    return model.embed(batch, sample_rate=16000)


def test_rows_of_several_copies_are_those_of_one_model(model, clips):
    batches = [clips[at : at + 3] for at in range(0, len(clips), 3)]
    copies = [copy.deepcopy(model) for _ in range(3)]
    rows = np.concatenate(list(in_parallel(copies, embed, batches)))
    np.testing.assert_allclose(rows, embed(model, clips), atol=1e-5)


def test_every_thread_of_the_cpu_gets_a_batch_and_has_one_thread(model, clips):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    together = threading.Barrier(2, timeout=60)  # passed only by two batches at a time

    def at_once(model, batch):
        together.wait()
        return torch.get_num_threads(), embed(model, batch)

    try:
        with spread(model) as models:
            found = list(in_parallel(models, at_once, [clips[:5], clips[5:]]))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert [threads for threads, _ in found] == [1, 1]
    rows = np.concatenate([rows for _, rows in found])
    np.testing.assert_allclose(rows, embed(model, clips), atol=1e-5)


def test_threads_beyond_those_that_have_a_batch_help_them(model):
    before = torch.get_num_threads()
    torch.set_num_threads(2 * MOST)
    try:
        with spread(model) as models:
            assert len(models) == MOST
            assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_a_few_batches_are_taken_ahead_and_not_all(model):
    taken = []
    results = in_parallel([model] * 2, lambda _, batch: batch, (taken.append(n) or n for n in range(100)))
    assert next(results) == 0
    assert len(taken) < 6
    assert list(results) == list(range(1, 100))


def test_an_error_of_one_batch_is_raised_in_its_place(model):
    def work(_, batch):
        if batch == 2:
            raise AudioError("the third")
        return batch

    results = in_parallel([model] * 2, work, range(5))
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(AudioError, match="the third"):
        next(results)


def test_several_devices_are_gpus(model):
    with pytest.raises(UsageError, match="--devices 2: only GPUs"), spread(model, 2):
        pass
