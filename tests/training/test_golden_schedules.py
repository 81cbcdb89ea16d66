import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atst.training import schedules
from golden.numbers import arrays

GOLDEN = arrays("schedules")


@pytest.mark.parametrize("size", ["small", "base"])
def test_schedules_equal_the_reference(size: str) -> None:
    peak, warmup, steps, ema = GOLDEN[f"{size}_recipe_lr_warmup_max_ema"].tolist()
    at = GOLDEN[f"{size}_step"]
    rate = schedules.learning_rate(peak, int(steps), int(warmup))
    np.testing.assert_allclose(rate[at], GOLDEN[f"{size}_lr"], rtol=1e-9, atol=0)
    decay = schedules.cosine(0.04, 0.4, int(steps))
    np.testing.assert_allclose(decay[at], GOLDEN[f"{size}_wd"], rtol=1e-9, atol=0)
    np.testing.assert_allclose(schedules.cosine(ema, 1.0, int(steps))[at], GOLDEN[f"{size}_ema"], rtol=1e-9)
    assert len(rate) == len(decay) == steps


def test_fine_tuning_form_equals_the_reference() -> None:
    peak, epochs, iterations, warmup = GOLDEN["finetune_example_lr_epochs_niter_warmup"].tolist()
    rate = schedules.learning_rate(peak, int(epochs * iterations), int(warmup * iterations))
    at = GOLDEN["finetune_example_step"]
    np.testing.assert_allclose(rate[at], GOLDEN["finetune_example_lr"], rtol=1e-9, atol=0)


@given(st.floats(1e-5, 1.0), st.integers(1, 500), st.integers(0, 600))
def test_first_warmup_end_and_last_step(peak: float, steps: int, warmup: int) -> None:
    rate = schedules.learning_rate(peak, steps, warmup)
    assert len(rate) == steps
    assert rate.max() <= peak * (1 + 1e-12)
    assert rate.min() >= 0
    if warmup > 0:
        assert rate[0] == 0
    if 1 < warmup <= steps:
        assert rate[warmup - 1] == pytest.approx(peak)
    if warmup < steps:
        assert rate[min(warmup, steps)] == pytest.approx(peak)
        assert rate[-1] > schedules.FINAL_LEARNING_RATE


@pytest.mark.parametrize(
    ("given_rate", "batch", "scaled"), [(5e-4, 1536, 3e-3), (2e-4, 1536, 1.2e-3), (1.0, 256, 1.0)]
)
def test_rate_is_scaled_by_the_effective_batch(given_rate: float, batch: int, scaled: float) -> None:
    assert schedules.scaled_learning_rate(given_rate, batch) == pytest.approx(scaled)
