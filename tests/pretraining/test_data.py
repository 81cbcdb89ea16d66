from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from atst.corpus import Subset, open_corpus
from atst.errors import CorpusError
from atst.model.frontend import FrontEnd
from atst.pretraining import recipe as recipes
from atst.pretraining.data import ClipOrder, PairDataset, loader
from atst.pretraining.views import Views
from atst.training.loader import BatchPositions


def plan(**changes):
    return replace(recipes.resolve("nano-paper", ["segment_seconds=0.5", "min_seconds=0.1"]), **changes)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Six clips of noise: 0.2, 0.5, 1, 2, 4 and 8 s."""
    path = tmp_path_factory.mktemp("clips")
    for i, seconds in enumerate((0.2, 0.5, 1, 2, 4, 8)):
        noise = np.random.default_rng(i).standard_normal(int(16000 * seconds)) * 0.1
        soundfile.write(path / f"{i}.wav", noise, 16000)
    return path


@given(st.integers(1, 300), st.integers(0, 5), st.integers(0, 10**6))
@settings(max_examples=50, deadline=None)
def test_uniform_order_visits_every_clip_once_an_epoch(size, epoch, seed):
    order = ClipOrder(np.ones(size), "uniform", seed)
    assert sorted(order[epoch * size + i] for i in range(size)) == list(range(size))


def test_sqrt_duration_visits_clips_by_the_root_of_their_length():
    seconds = np.array([1.0, 4.0, 9.0, 16.0] * 25)
    order = ClipOrder(seconds, "sqrt_duration", 0)
    visits = Counter(seconds[order[i]] for i in range(100 * 50))
    share = np.array([visits[length] for length in (1, 4, 9, 16)]) / 5000
    np.testing.assert_allclose(share, [0.1, 0.2, 0.3, 0.4], atol=0.01)


def test_the_stream_is_the_same_for_any_number_of_workers_and_any_start(folder):
    dataset = PairDataset(open_corpus([folder], min_seconds=0.1), plan(), logmel=True)
    alone = iter(loader(dataset, BatchPositions(4), workers=0))
    batches = [next(alone) for _ in range(5)]
    from_third = iter(loader(dataset, BatchPositions(4, start=3), workers=2))
    for expected in batches[3:]:
        got = next(from_third)
        assert got["position"] == expected["position"]
        assert all(map(torch.equal, got["views"], expected["views"]))
        assert torch.equal(got["draws"], expected["draws"])


def test_devices_share_out_the_stream():
    streams = [iter(BatchPositions(4, start=2, rank=rank, devices=2)) for rank in (0, 1)]
    assert [next(stream) for stream in streams] == [[16, 17, 18, 19], [20, 21, 22, 23]]


def test_segments_come_from_one_clip_and_short_clips_are_padded(folder):
    corpus = open_corpus([folder], min_seconds=0.1)
    dataset = PairDataset(corpus, plan(), logmel=False)
    for position in range(60):
        item = dataset[position]
        index = dataset.order[position]
        whole = corpus.read(index).tobytes()
        for segment in item["views"]:
            sound = segment[: int(corpus.seconds[index] * 16000)]
            assert sound.numpy().tobytes() in whole
            assert not segment[len(sound) :].any()
        assert item["real"] == pytest.approx(min(corpus.seconds[index] / 0.5, 1.0))
        assert item["differ"] == (corpus.seconds[index] > 0.5)


def test_same_segment_gives_both_views_the_same_sound(folder):
    dataset = PairDataset(open_corpus([folder], min_seconds=0.1), plan(same_segment=True), logmel=False)
    for position in range(20):
        first, second = dataset[position]["views"]
        assert torch.equal(first, second)


def test_views_of_two_lengths(folder):
    corpus = open_corpus([folder], min_seconds=0.1)
    recipe = plan(second_segment_seconds=0.3, mixup=False, resize_crop=False)
    waves, logmels = (PairDataset(corpus, recipe, logmel=logmel) for logmel in (False, True))
    for position in range(20):
        first, second = waves[position]["views"]
        assert (len(first), len(second)) == (8000, 4800)
        alone = FrontEnd()(second[None])[0]
        assert torch.equal(logmels[position]["views"][1], alone)
    views = Views(recipe)(next(iter(loader(waves, BatchPositions(4), workers=0))))
    assert [view.shape for view in views] == [(4, 64, 51), (4, 64, 31)]


def test_the_shorter_of_two_segments_that_are_one_lies_in_the_longer(folder):
    recipe = plan(second_segment_seconds=0.3, same_segment=1.0)
    dataset = PairDataset(open_corpus([folder], min_seconds=0.4), recipe, logmel=False)
    for position in range(20):
        first, second = dataset[position]["views"]
        assert second.numpy().tobytes() in first.numpy().tobytes()


@given(st.integers(1, 30), st.integers(1, 40), st.integers(0, 9))
@settings(max_examples=20, deadline=None)
def test_a_subset_is_drawn_by_its_seed_and_reads_the_same_clips(clips, size, seed):
    whole = open_corpus([f"synthetic:{clips}"])
    subset = Subset(whole, size, seed)
    names = [subset.name(i) for i in range(len(subset))]
    assert len(set(names)) == len(subset) == min(size, clips)
    again = Subset(whole, size, seed)
    assert names == [again.name(i) for i in range(len(again))]
    place = [whole.name(i) for i in range(clips)].index(names[-1])
    assert subset.seconds[-1] == whole.seconds[place]
    np.testing.assert_array_equal(subset.read(len(subset) - 1), whole.read(place))


def test_faulty_clips_are_replaced_by_the_same_others_each_time_and_named(folder, tmp_path):
    for name in ("0.wav", "4.wav"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    soundfile.write(tmp_path / "silent.wav", np.zeros(16000), 16000)
    corpus = open_corpus([tmp_path], min_seconds=0.1)
    dataset = PairDataset(corpus, plan(), logmel=False)
    silent = next(i for i in range(len(corpus)) if "silent" in corpus.name(i))
    position = next(i for i in range(3) if dataset.order[i] == silent)
    item = dataset[position]
    assert item["views"][0].any()
    assert item["errors"][0][0] == corpus.name(silent)
    assert "silent" in item["errors"][0][1]
    assert all(map(torch.equal, dataset[position]["views"], item["views"]))


def test_a_corpus_of_nothing_but_silence_says_so(tmp_path):
    soundfile.write(tmp_path / "silent.wav", np.zeros(16000), 16000)
    dataset = PairDataset(open_corpus([tmp_path], min_seconds=0.1), plan(), logmel=False)
    with pytest.raises(CorpusError, match="20 clips in a row"):
        dataset[0]
