"""Stochastic depth while fine-tuning: where it is on, how much, and that it leaves the mean as it is."""

import numpy as np
import pytest
import torch
from tones import tone_task

from atst.finetuning import recipe as recipes
from atst.finetuning.clips import Clips
from atst.finetuning.module import predict
from atst.finetuning.network import Network
from atst.model import load as models

DRAWS = 2000


def network(size, rate):
    recipe = recipes.resolve("spcv2", "authors2023", [f"drop_path={rate}"])
    return Network(models.load(f"random:{size}"), 3, recipe)


@pytest.mark.parametrize(("protocol", "task"), [("paper", "spcv2"), ("authors2023", "us8k")])
def test_rates_rise_from_0_to_a_tenth_block_by_block(protocol, task):
    made = Network(models.load("random:tiny"), 3, recipes.resolve(task, protocol))
    rates = [block.drop_path for block in made.model.encoder.blocks]
    assert rates == pytest.approx([0.1 * i / 11 for i in range(12)])


@pytest.mark.parametrize("branch", ["attn", "mlp"])
@torch.no_grad()
def test_kept_branches_are_scaled_and_the_mean_of_many_draws_is_the_eval_pass(branch):
    """Of one branch: what follows is not linear, so the mean of whole passes is another."""
    torch.manual_seed(0)
    block = network("nano", 0.1).model.encoder.blocks[-1]
    silent = block.mlp.fc2 if branch == "attn" else block.attn.proj
    silent.weight.zero_()
    clip = torch.randn(1, 11, 128)
    expected = block.eval()(clip, None) - clip
    drawn = block.train()(clip.expand(DRAWS, -1, -1), None) - clip
    kept = drawn.flatten(1).norm(dim=1) > 0
    torch.testing.assert_close(drawn[kept], (expected / 0.9).expand_as(drawn[kept]), atol=1e-6, rtol=1e-4)
    error = drawn.std(0) / DRAWS**0.5
    assert ((drawn.mean(0) - expected[0]).abs() <= 3 * error + 1e-6).all()
    assert 0 < error.max() < expected.abs().max() / 50


def test_it_is_on_in_training_and_off_in_validation():
    made, clips = network("nano", 0.5).train(), Clips(tone_task(6))
    with torch.no_grad():
        trained = made.features([clips[0]] * 16)
        assert len({tuple(row) for row in trained.tolist()}) > 2
        first, again = (predict(made, clips, [0, 1, 0])[0] for _ in range(2))
        assert made.training
        np.testing.assert_array_equal(first, again)
        torch.testing.assert_close(first[0], first[2], atol=1e-6, rtol=0)
        torch.testing.assert_close(predict(network("nano", 0.0), clips, [0, 1, 0])[0], first)
