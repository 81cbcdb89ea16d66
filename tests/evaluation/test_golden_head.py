"""The probe's head (BatchNorm without parameters, linear layer) against the reference."""

import numpy as np
import pytest
import torch
from torch import Tensor

from atst.evaluation import sweep
from golden import recipes
from golden.numbers import arrays

GOLDEN = arrays("heads")
WIDTH, CLASSES = 48, 7


def value(key: str, *shape: int) -> Tensor:
    return torch.from_numpy(np.asarray(recipes.fill_value(f"head.{key}", shape)))


@pytest.fixture
def state() -> sweep._State:
    """A sweep of one fold and one rate of 0, holding the reference's head."""
    x = torch.from_numpy(GOLDEN["x"])
    rows = torch.ones(len(x), 1, dtype=torch.bool)
    state = sweep._State(x, torch.zeros(len(x), dtype=torch.int64), CLASSES, rows, torch.zeros(1, 1), seed=0)
    state.weight = value("linear.weight", CLASSES, WIDTH).T[None].contiguous()
    state.bias = value("linear.bias", CLASSES)[None].clone()
    state.mean = value("norm.running_mean", WIDTH)[None].clone()
    state.var = value("norm.running_var", WIDTH)[None].clone()
    return state


def test_logits_with_running_statistics(state: sweep._State) -> None:
    logits = state.heads().logits(state.features, fold=0)
    np.testing.assert_allclose(logits, GOLDEN["y_eval"], rtol=0, atol=1e-5)


def test_logits_of_the_linear_layer_alone(state: sweep._State) -> None:
    logits = sweep.Heads(state.weight[:, :, None], state.bias[:, None]).logits(state.features, fold=0)
    np.testing.assert_allclose(logits, GOLDEN["y_no_norm"], rtol=0, atol=1e-5)


def test_training_pass_updates_running_statistics_and_uses_the_batchs(state: sweep._State) -> None:
    state.step(state.rows, factor=1.0)
    np.testing.assert_allclose(state.mean[0], GOLDEN["running_mean_after_train"], rtol=0, atol=1e-6)
    np.testing.assert_allclose(state.var[0], GOLDEN["running_var_after_train"], rtol=0, atol=1e-6)
    state.mean = state.features.mean(0)[None]
    state.var = state.features.var(0, unbiased=False)[None]
    logits = state.heads().logits(state.features, fold=0)
    np.testing.assert_allclose(logits, GOLDEN["y_train"], rtol=0, atol=2e-5)
