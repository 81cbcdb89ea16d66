"""A fine-tuning step, and the mixing of clips and labels, against the published code's numbers."""

import numpy as np
import pytest
import torch

from atst.finetuning import recipe as finetuning
from atst.finetuning.augment import mix
from atst.finetuning.module import FinetuningModule, clip_losses
from atst.finetuning.network import Network
from atst.model.audio_model import AudioModel, ModelConfig
from atst.training.augment import resize_crop
from golden import recipes
from golden.numbers import arrays, encoder_state

GOLDEN, MIXED = arrays("finetune_small"), arrays("finetune_mixup")
LENGTHS = GOLDEN["length"].tolist()
CLASSES = 7


def our_name(name):
    """The name, in a `Network`, of a parameter of the authors' fine-tuning module."""
    name = name.replace("patch_embed.patch_embed.", "patch_embed.")
    return name.replace("encoder.encoder.", "model.encoder.").replace("head.", "")


@pytest.fixture
def network():
    recipe = finetuning.resolve("spcv2", "authors2023", ["drop_path=0"])
    model = AudioModel(ModelConfig("small", 9.0))  # the recipe sets 6 s, whatever the checkpoint says
    model.encoder.load_state_dict(encoder_state())
    made = Network(model, CLASSES, recipe)
    for name in ("norm.running_mean", "norm.running_var", "linear.weight", "linear.bias"):
        value = recipes.fill_value(f"head.{name}", tuple(made.state_dict()[name].shape))
        made.state_dict()[name].copy_(torch.from_numpy(np.asarray(value)))
    return made.train()


@pytest.fixture
def logmels():
    clips = [
        torch.from_numpy(recipes.mel_noise(seed, frames))
        for seed, frames in zip(GOLDEN["seeds"].tolist(), LENGTHS, strict=True)
    ]
    np.testing.assert_array_equal(clips[0][::16, ::100], GOLDEN["mel_check"][0])
    return clips


def test_features_of_short_and_long_clips_together_and_alone(network, logmels):
    with torch.no_grad():
        np.testing.assert_allclose(network.features(logmels), GOLDEN["features"], rtol=0, atol=1e-4)
        for length, logmel in zip(LENGTHS, logmels, strict=True):
            alone = network.features([logmel])
            np.testing.assert_allclose(alone, GOLDEN[f"features_alone_{length}"], rtol=0, atol=1e-4)


def test_one_step(network, logmels):
    """Forward pass, both losses, every gradient, and every parameter's move by a clipped step of SGD."""
    recipe = finetuning.resolve("spcv2", "authors2023", ["drop_path=0"])
    module = FinetuningModule(network, recipe, np.array([0.1]), bce=True)
    features = network.features(logmels)
    normed = network.norm(features)
    logits = network.linear(normed)
    np.testing.assert_allclose(normed.detach(), GOLDEN["features_normed"], rtol=0, atol=1e-3)
    np.testing.assert_allclose(logits.detach(), GOLDEN["logits"], rtol=0, atol=1e-4)
    np.testing.assert_allclose(network.norm.running_mean, GOLDEN["bn_running_mean"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(network.norm.running_var, GOLDEN["bn_running_var"], rtol=0, atol=1e-5)
    one_hot = torch.nn.functional.one_hot(torch.from_numpy(GOLDEN["y_index"]), CLASSES).float()
    assert float(clip_losses(logits.detach(), one_hot, bce=False).mean()) == pytest.approx(
        GOLDEN["loss_ce"], abs=1e-5
    )
    loss = clip_losses(logits, torch.from_numpy(GOLDEN["y"]), bce=True).mean()
    assert float(loss.detach()) == pytest.approx(float(GOLDEN["loss_bce"]), abs=1e-5)
    loss.backward()
    _check_gradients(network)
    before = {name: parameter.detach().clone() for name, parameter in network.named_parameters()}
    optimiser = module.configure_optimizers()
    for group in optimiser.param_groups:
        group["lr"] = 0.1 * group["scale"]
    module.configure_gradient_clipping(optimiser)
    optimiser.step()
    after = dict(network.named_parameters())
    for name, expected in zip(GOLDEN["delta_names"], GOLDEN["delta_l2"], strict=True):
        moved = (after[our_name(name)].detach() - before[our_name(name)]).double().norm()
        assert float(moved) == pytest.approx(expected, rel=1e-3), name


def _check_gradients(network):
    parameters = {name: p.grad for name, p in network.named_parameters() if p.grad is not None}
    names = [our_name(name) for name in GOLDEN["grad_names"]]
    assert parameters.keys() == set(names)
    norms = [float(parameters[name].double().norm()) for name in names]
    np.testing.assert_allclose(norms, GOLDEN["grad_l2_fp64"], rtol=1e-3)
    for name, expected in zip(names, GOLDEN["grad_sample16"], strict=True):
        flat = parameters[name].flatten()
        sample = flat[:: max(1, flat.numel() // 16)][:16]
        np.testing.assert_allclose(sample, expected[: len(sample)], rtol=0, atol=1e-4)


@pytest.mark.parametrize("case", ["equal", "x_longer", "x_shorter"])
def test_clips_and_labels_are_mixed_as_published(case):
    seed, frames, other_seed, others = MIXED[f"{case}_seeds_lengths_x_z"].tolist()
    x = torch.from_numpy(recipes.mel_smooth(seed, frames))
    z = torch.from_numpy(recipes.mel_smooth(other_seed, others))
    labels = [torch.from_numpy(MIXED[f"{case}_y_{name}"]) for name in "xz"]
    room = max(abs(frames - others), 1)
    start = (int(MIXED[f"{case}_start"]) + 0.5) / room
    mixed, label = mix(x, labels[0], z, labels[1], float(MIXED[f"{case}_lambda"]), start)
    np.testing.assert_allclose(mixed[::4], MIXED[f"{case}_x_mixed_every4th"], rtol=0, atol=2e-6)
    np.testing.assert_allclose(label, MIXED[f"{case}_y_mixed"], rtol=0, atol=1e-6)


def test_the_crop_comes_after_the_mixing():
    frames, weight = int(MIXED["whole_frames"]), float(MIXED["whole_lambda"])
    x, z = (torch.from_numpy(recipes.mel_smooth(seed, frames)) for seed in MIXED["whole_seeds_x_z"].tolist())
    crop = torch.from_numpy(MIXED["whole_crop_i_j_h_w"])[None]
    label_x, label_z = (torch.from_numpy(MIXED[f"whole_y_{name}"]) for name in "xz")
    mixed, label = mix(x, label_x, z, label_z, weight, 0.0)
    for logmel, name in ((z, "whole_first_out"), (mixed, "whole_out")):
        cropped = resize_crop(logmel[None], crop)[0]
        np.testing.assert_allclose(cropped[::4], MIXED[f"{name}_every4th"], rtol=0, atol=5e-5)
    np.testing.assert_allclose(label, MIXED["whole_y"], rtol=0, atol=1e-6)
