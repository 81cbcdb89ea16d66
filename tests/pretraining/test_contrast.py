"""What the paper does not have: a contrastive loss on statistics over time, and views that are stretched."""

import math

import pytest
import torch

from atst.errors import UsageError
from atst.model.frontend import NORM_HIGH_DB, NORM_LOW_DB
from atst.pretraining import recipe as recipes
from atst.pretraining.method import TeacherStudent
from atst.pretraining.objectives import contrast
from atst.training.augment import MixupBank, colour, draw_crops, resize_crop, stretch

CONV = {"stem": "conv", "projector_input": "statistics", "objective": "infonce"}


def test_the_contrast_is_low_for_the_own_target_and_the_logarithm_of_the_batch_for_equal_ones():
    outputs = torch.eye(8)
    assert contrast(outputs, outputs, 0.05) < 1e-6
    assert contrast(outputs, torch.ones(8, 8), 0.2).item() == pytest.approx(math.log(8))
    assert contrast(outputs, outputs.roll(1, 0), 0.1) > 9.0


def test_a_step_lowers_the_loss_and_moves_the_teacher():
    torch.manual_seed(0)
    pair = TeacherStudent("nano", 0.0, token_drop=0.5, **CONV)
    optimiser = torch.optim.AdamW(pair.parameter_groups(), lr=1e-3)
    views = torch.randn(2, 16, 64, 97)
    losses = []
    for _ in range(6):
        loss, stats = pair.loss(views[0], views[0] + 0.1 * views[1])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        pair.update_teacher(0.9)
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]
    assert stats["student"].shape == (32, 256)


def test_patches_can_take_statistics_and_contrast_too():
    pair = TeacherStudent("nano", projector_input="statistics", objective="infonce")
    views = torch.randn(2, 4, 64, 97)
    lengths = torch.tensor([97, 40, 97, 60])
    loss, _ = pair.loss(views[0], views[1][:, :, :80], lengths, lengths.clamp_max(80))
    loss.backward()
    assert loss.isfinite()


def test_a_stretch_of_factor_one_is_a_cut():
    logmels = torch.randn(3, 64, 121)
    draws = torch.tensor([[0.5, 0.0], [0.5, 0.999], [0.5, 0.5]])
    views = stretch(logmels, 97, 1.25, draws)
    torch.testing.assert_close(views[0], logmels[0, :, :97])
    torch.testing.assert_close(views[1], logmels[1, :, 24:])
    torch.testing.assert_close(views[2], logmels[2, :, 12:109])


def test_the_equaliser_keeps_its_bounds_and_the_gain_is_in_decibels():
    logmels = torch.zeros(200, 64, 5)
    draws = torch.rand(200, 7)
    unit = (NORM_HIGH_DB - NORM_LOW_DB) / 2
    curve = colour(logmels, 3.0, 0.0, draws) * unit
    assert 2.0 < curve.abs().max() <= 3.0
    assert curve.diff(dim=1).abs().max() < 1.0  # smooth: 6 dB at most over 12 bands
    louder = colour(logmels, 0.0, 6.0, torch.ones(200, 7)) * unit
    torch.testing.assert_close(louder, torch.full_like(louder, 6.0))


def test_a_shorter_view_need_not_be_padded_and_masked():
    torch.manual_seed(0)
    pair = TeacherStudent("nano", 0.0).double()
    view1, view2 = torch.randn(4, 64, 45).double(), torch.randn(4, 64, 30).double()
    padded = torch.nn.functional.pad(view2, (0, 15))
    lengths = [torch.full((4,), frames) for frames in (45, 30)]
    losses = [pair.loss(view1, view2)[0], pair.loss(view1, padded, *lengths)[0]]
    gradients = [
        torch.autograd.grad(loss, list(pair.student["encoder"].blocks.parameters())) for loss in losses
    ]
    torch.testing.assert_close(*losses)
    torch.testing.assert_close(*gradients)


def test_a_crop_that_is_not_in_time_moves_bands_alone():
    crops = draw_crops(torch.rand(50, 4), 64, 41, in_time=False)
    assert crops[:, 2].unique().numel() > 5
    over_time = torch.linspace(-1, 1, 41).expand(50, 64, 41)  # every band the same
    torch.testing.assert_close(resize_crop(over_time, crops), over_time, atol=1e-5, rtol=0)


def test_mixing_power_adds_power():
    bank = MixupBank(domain="power")
    first, second = torch.full((1, 64, 3), 0.2), torch.full((1, 64, 3), -0.1)
    bank.push(first)
    mixed = bank.mix(second, torch.tensor([[0.0, 0.5]]))  # weight 0.2 for the earlier one
    unit = (NORM_HIGH_DB - NORM_LOW_DB) / 2
    expected = math.log10(0.2 * 10 ** (0.2 * unit / 10) + 0.8 * 10 ** (-0.1 * unit / 10)) * 10 / unit
    torch.testing.assert_close(mixed, torch.full_like(mixed, expected))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (["projector_input=cls"], "stem=conv has no CLS token"),
        (["stem=patches"], "token_drop needs stem=conv"),
        (["local_weight=1"], "local_weight needs stem=patches or frame"),
        (["stem=frame", "projector_input=cls"], "statistics or local_weight=1"),
        (["objective=clip"], "objective"),
        (["time_stretch=0.5"], "time_stretch"),
        (["same_segment=2"], "same_segment"),
        (["size=base"], "nano"),
    ],
)
def test_recipes_that_cannot_be(changes, said):
    with pytest.raises(UsageError, match=said):
        recipes.resolve("nano", changes)
    with pytest.raises(UsageError, match="same_segment=true"):
        recipes.resolve("small", ["local_weight=0.5"])
    assert recipes.resolve("nano", ["same_segment=true"]).same_segment == 1.0
