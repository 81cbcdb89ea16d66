import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from atst.scoring.metrics import (
    accuracy,
    average_precision,
    bootstrap_interval,
    bootstrap_values,
    interval,
    mean_average_precision,
    paired_bootstrap,
)


@given(st.integers(0, 2**31), st.integers(2, 40), st.integers(2, 6), st.sampled_from([3, 1000]))
def test_average_precision_equals_scikit_learn_with_and_without_ties(seed, n, classes, levels):
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, levels, (n, classes)) / levels
    labels = (rng.random((n, classes)) < 0.3).astype(np.uint8)
    found = average_precision(torch.from_numpy(scores), torch.from_numpy(labels)).numpy()
    defined = labels.any(0)
    expected = [average_precision_score(labels[:, c], scores[:, c]) for c in np.flatnonzero(defined)]
    np.testing.assert_allclose(found[defined], expected, atol=1e-12)
    assert np.isnan(found[~defined]).all()


def test_classes_without_positives_are_left_out_of_the_mean():
    scores = torch.tensor([[0.9, 0.1], [0.2, 0.3]])
    assert mean_average_precision(scores, torch.tensor([[1, 0], [0, 0]])) == 1


def test_metrics_of_many_heads_at_once():
    logits, labels = torch.randn(30, 4, 5), torch.arange(30) % 5
    hot = torch.nn.functional.one_hot(labels)
    for head in range(4):
        assert accuracy(logits, labels)[head] == accuracy(logits[:, head], labels)
        assert mean_average_precision(logits, hot)[head] == mean_average_precision(logits[:, head], hot)


@pytest.mark.parametrize("truth", [0.6, 0.85])
def test_the_interval_covers_the_true_accuracy_about_95_times_in_100(truth):
    rng = np.random.default_rng(1)
    labels = torch.ones(150, dtype=torch.int64)
    covered = 0
    for trial in range(300):
        right = torch.from_numpy(rng.random(150) < truth).float()
        low, high = interval(
            bootstrap_values("accuracy", torch.stack([1 - right, right], 1), labels, trial, 500)
        )
        covered += low <= truth <= high
    assert 0.90 <= covered / 300 <= 0.99


def test_bootstrap_of_map_surrounds_it_and_is_seeded():
    rng = np.random.default_rng(2)
    labels = torch.from_numpy(rng.integers(0, 2, (80, 3)))
    scores = labels + torch.from_numpy(rng.normal(0, 1, (80, 3)))
    value = mean_average_precision(scores, labels)
    low, high = bootstrap_interval("mAP", [bootstrap_values("mAP", scores, labels, 5, 200)], float(value))
    assert low < value < high
    draws = [bootstrap_values("mAP", scores, labels, 5, 200)]
    assert (low, high) == bootstrap_interval("mAP", draws, float(value))


@pytest.mark.parametrize(("informative", "around"), [(0.0, 0.04), (1.0, 0.13), (5.0, 0.99)])
def test_the_interval_of_map_holds_its_value_at_low_and_high_map(informative, around):
    """Of rare classes draws are larger than the value, with scores that say a little nearly all of them."""
    rng = np.random.default_rng(6)
    labels = torch.from_numpy((rng.random((400, 60)) < 0.02).astype(np.uint8))
    scores = informative * labels + torch.from_numpy(rng.normal(0, 1, (400, 60)))
    value = float(mean_average_precision(scores, labels))
    assert value == pytest.approx(around, abs=0.05)
    draws = bootstrap_values("mAP", scores, labels, 0, 300)
    low, high = bootstrap_interval("mAP", [draws], value)
    assert 0 <= low < value < high <= 1
    assert high - low == pytest.approx(np.subtract(*interval(draws)[::-1]), abs=0.005)
    if informative == 1:
        assert interval(draws)[0] > value


def test_the_interval_of_a_perfect_map_is_a_point():
    labels = torch.tensor([[1, 0], [0, 1], [1, 1], [0, 0]])
    draws = bootstrap_values("mAP", labels.double(), labels, 0, 50)
    assert bootstrap_interval("mAP", [draws, draws], 1.0) == (1.0, 1.0)


@given(st.integers(0, 10**6), st.integers(2, 40), st.integers(1, 4), st.sampled_from([2, 5, 1000]))
def test_bootstrap_of_map_is_that_of_each_resample(seed, n, classes, levels):
    rng = np.random.default_rng(seed)
    scores = torch.from_numpy(rng.integers(0, levels, (n, classes)) / levels).float()
    labels = torch.from_numpy(rng.integers(0, 2, (n, classes)))
    counts = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), 5)
    drawn = [torch.from_numpy(np.repeat(np.arange(len(scores)), row)) for row in counts]
    expected = [average_precision(scores[rows], labels[rows]).nanmean().item() for rows in drawn]
    np.testing.assert_allclose(bootstrap_values("mAP", scores, labels, seed, 5), expected, atol=1e-12)


def test_pairing_sees_a_difference_that_single_intervals_hide():
    rng = np.random.default_rng(3)
    b = rng.random(300) < 0.6
    a = b | (rng.random(300) < 0.06)  # better on a few clips, never worse
    difference, low, high = paired_bootstrap(a, b)
    assert difference == pytest.approx(a.mean() - b.mean())
    assert 0 < low < difference < high
    assert paired_bootstrap(b, b) == (0, 0, 0)
