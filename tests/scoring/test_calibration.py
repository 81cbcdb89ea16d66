"""Temperatures and calibration errors whose right values are known."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from atst.scoring.calibration import expected_calibration_error, fit_temperature


def drawn(n: int, classes: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits (n, C) and labels drawn from their softmax: calibrated as they are."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(n, classes, generator=generator, dtype=torch.float64)
    return logits, torch.multinomial(logits.softmax(-1), 1, generator=generator)[:, 0]


@settings(deadline=None, max_examples=10)
@given(st.floats(0.3, 4.0), st.integers(2, 6), st.integers(0, 99))
def test_the_temperature_that_logits_were_multiplied_by_is_found(factor, classes, seed):
    logits, labels = drawn(5000, classes, seed)
    plain = fit_temperature(logits, labels)
    assert plain == pytest.approx(1, abs=0.15)
    assert fit_temperature(logits * factor, labels) == pytest.approx(plain * factor, rel=1e-6)


def test_of_multi_label_logits_too():
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(4000, 5, generator=generator)
    labels = (torch.rand(4000, 5, generator=generator) < logits.sigmoid()).to(torch.uint8)
    assert fit_temperature(3 * logits, labels) == pytest.approx(3, rel=0.1)
    assert expected_calibration_error(logits, labels) < 0.02
    assert expected_calibration_error(3 * logits, labels) > 0.05


def test_the_error_falls_with_the_fitted_temperature():
    logits, labels = drawn(5000, 4, seed=1)
    before = expected_calibration_error(4 * logits, labels)
    after = expected_calibration_error(4 * logits / fit_temperature(4 * logits, labels), labels)
    assert after < 0.03 < before


def test_errors_known_in_advance():
    sure = torch.tensor([[50.0, 0.0], [50.0, 0.0]])
    assert expected_calibration_error(sure, torch.tensor([0, 0])) == pytest.approx(0)
    assert expected_calibration_error(sure, torch.tensor([1, 1])) == pytest.approx(1)
    assert expected_calibration_error(sure, torch.tensor([0, 1])) == pytest.approx(0.5)


def test_without_clips_nothing_is_changed_and_nothing_claimed():
    assert fit_temperature(torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64)) == 1
    assert math.isnan(expected_calibration_error(torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64)))


def test_all_right_or_all_wrong_stays_finite():
    logits = torch.tensor([[3.0, 0.0], [4.0, 0.0]])
    assert fit_temperature(logits, torch.tensor([0, 0])) == pytest.approx(0.1)
    assert fit_temperature(logits, torch.tensor([1, 1])) == pytest.approx(10)
