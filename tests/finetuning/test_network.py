"""The classifier against the published code's numbers, and against embedding with what was saved."""

from collections import Counter

import numpy as np
import pytest
import torch

from atst.errors import UsageError
from atst.finetuning import recipe as own_recipes
from atst.finetuning.network import Network, layer_scales
from atst.model import load as models
from atst.model.encoder import Encoder
from golden import recipes
from golden.numbers import arrays, table

GOLDEN = arrays("heads")


def network_of(classes, *changes):
    """Of the smallest encoder, with the recipe `own`."""
    return Network(models.load("random:nano"), classes, own_recipes.resolve("x", "own", changes))


def test_layer_wise_rates_equal_the_published_ones():
    expected = {
        name.removeprefix("encoder.encoder.").replace("patch_embed.patch_embed.", "patch_embed."): scale
        for name, scale in table("layer_wise_lr")["lr_scale"].items()
    }
    scales = layer_scales(Encoder("small"), 0.75)
    assert {"head.linear.weight", "head.linear.bias"} == expected.keys() - scales.keys()
    assert expected == pytest.approx(scales | {"head.linear.weight": 1.0, "head.linear.bias": 1.0}, abs=1e-12)


def test_every_trained_parameter_is_in_the_group_of_its_rate():
    network = network_of(3)
    groups = network.parameter_groups(0.75)
    assert [group["scale"] for group in groups] == [1.0, 0.75**4, 0.75**3, 0.75**2, 0.75]
    grouped = Counter(id(p) for group in groups for p in group["params"])
    assert grouped == Counter(id(p) for p in network.parameters() if p.requires_grad)


@pytest.mark.parametrize(("freeze", "trained"), [(0, 4), (1, 3), (3, 1), (4, 0)])
def test_frozen_blocks_and_what_is_below_them_are_not_trained(freeze, trained):
    network = network_of(3)
    groups = network.parameter_groups(0.75, freeze)
    names = {name for name, p in network.model.encoder.named_parameters() if p.requires_grad}
    assert {int(name.split(".")[1]) for name in names if name.startswith("blocks.")} == {*range(freeze, 4)}
    assert ("cls_token" in names) == (freeze == 0)
    assert ("norm.weight" in names) == (freeze < 4)
    assert len(groups) == 1 + trained
    with pytest.raises(UsageError, match="0 to 4"):
        network.parameter_groups(0.75, 5)


def test_the_head_equals_the_published_one():
    network = network_of(7)
    network.norm, network.linear = torch.nn.BatchNorm1d(48, affine=False), torch.nn.Linear(48, 7)
    for name in ("weight", "bias"):
        parameter = getattr(network.linear, name)
        value = recipes.fill_value(f"head.linear.{name}", tuple(parameter.shape))
        parameter.data = torch.from_numpy(np.asarray(value))
    network.norm.running_mean = torch.from_numpy(recipes.fill_value("head.norm.running_mean", (48,)))
    network.norm.running_var = torch.from_numpy(recipes.fill_value("head.norm.running_var", (48,)))
    x = torch.from_numpy(GOLDEN["x"])
    weight, bias = network.folded()
    np.testing.assert_allclose(x @ weight.T + bias, GOLDEN["y_eval"], atol=1e-5)
    trained = network.linear(network.norm(x)).detach()
    np.testing.assert_allclose(trained, GOLDEN["y_train"], atol=1e-5)
    np.testing.assert_allclose(network.norm.running_var, GOLDEN["running_var_after_train"], atol=1e-5)


@pytest.mark.parametrize("pooling", ["mean", "published"])
def test_logits_are_those_of_the_folded_head_on_embeddings_also_of_long_clips(pooling):
    model = models.load("random:nano")
    recipe = own_recipes.resolve("x", "own", ["segment_seconds=1", f"pooling={pooling}"])
    network = Network(model, 3, recipe)
    waves = [
        torch.randn(int(s * 16000), generator=torch.Generator().manual_seed(i)) / 9
        for i, s in enumerate((0.4, 2.7))
    ]
    logmels = [model.frontend(wave[None])[0] for wave in waves]
    network.train()(logmels)  # moves the running statistics
    weight, bias = network.eval().folded()
    features = torch.from_numpy(network.model.embed(waves, sample_rate=16000, pooling=pooling))
    np.testing.assert_allclose(features @ weight.T + bias, network(logmels).detach(), atol=1e-5)
    assert model.config.segment_seconds == 6.0


def test_every_trained_parameter_gets_a_gradient():
    network = network_of(3, "segment_seconds=1")
    network.parameter_groups(0.75)
    logits = network([torch.randn(64, frames) for frames in (40, 260, 100)])
    logits.square().sum().backward()
    without = {n for n, p in network.named_parameters() if p.requires_grad and p.grad is None}
    assert without == set()
    assert network.model.encoder.mask_embed.grad is None
