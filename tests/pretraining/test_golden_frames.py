"""Masks, encoder and one training step of ATST-Frame's `small`, equal to the reference."""

import numpy as np
import pytest
import torch

from atst.model import official
from atst.model.encoder import FrameEncoder
from atst.pretraining import TeacherStudent
from atst.pretraining.objectives import distance
from atst.pretraining.views import block_mask
from golden import recipes
from golden.numbers import arrays, frame_state, lightning_checkpoint

MASKS, ENCODER, STEP = (arrays(f"frame_{name}") for name in ("masks", "encoder_small", "step_small"))


@pytest.mark.parametrize("patches", [250, 150])
def test_masks_are_drawn_as_in_the_reference(patches):
    for seed, expected in enumerate(MASKS[f"example_{patches}"]):
        np.testing.assert_array_equal(block_mask(patches, np.random.RandomState(seed)), expected)
    rng = np.random.default_rng(0)
    masks = np.stack([block_mask(patches, rng) for _ in range(2000)])
    assert masks.mean() == pytest.approx(MASKS[f"share_{patches}_mean_std_min_max"][0], abs=0.005)
    np.testing.assert_allclose(masks.mean(0), MASKS[f"position_rate_{patches}"], atol=0.05)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("frame") / "frame.ckpt"
    torch.save(lightning_checkpoint(frame_state(), anchor_len=10.0), path)
    return path


def test_the_encoder_of_a_frame_checkpoint(checkpoint):
    model = official.load(checkpoint)
    assert isinstance(model.encoder, FrameEncoder)
    assert model.config.segment_seconds == 10.0
    seeds, lengths = ENCODER["seeds"].tolist(), ENCODER["length"]
    mels = torch.from_numpy(recipes.padded_mels(seeds, lengths.tolist(), 1001)[:, 0])
    frames, masked = torch.from_numpy(lengths), torch.from_numpy(ENCODER["mask"])
    np.testing.assert_allclose(mels[:, ::16, ::100], ENCODER["mel_check"], atol=1e-6)
    with torch.inference_mode():
        outputs = model.encoder(mels, frames, layers=12)
        hidden = model.encoder(mels, frames, masked=masked)[0]
    for place, block in enumerate(ENCODER["inter_blocks"]):
        expected = ENCODER["inter_every10tok_every8dim"][place]
        np.testing.assert_allclose(outputs[block][:, ::10, ::8], expected, rtol=0, atol=1e-4)
    valid = [tokens[2, : 333 // 4].mean(0) for tokens in outputs]
    np.testing.assert_allclose(torch.cat(valid), ENCODER["scene_n12"][2], rtol=0, atol=1e-4)
    counted = masked & (torch.arange(250) < frames[:, None] // 4)
    assert counted.sum(1).tolist() == ENCODER["rows_per_clip"].tolist()
    for tokens, network in ((outputs[-1], "tea"), (hidden, "stu")):
        expected = ENCODER[f"masked_{network}_every10row_every8dim"]
        np.testing.assert_allclose(tokens[counted][::10, ::8], expected, rtol=0, atol=1e-4)


@pytest.fixture(scope="module")
def step(checkpoint):
    """Loss, outputs, gradients, buffers after the forward pass, tensors before and after the step."""
    pair = TeacherStudent.from_official(checkpoint, drop_path=0.0).train()
    lengths, masked = torch.from_numpy(STEP["length"]), torch.from_numpy(STEP["mask"])
    views = [
        torch.from_numpy(recipes.padded_mels(range(first, first + 4), lengths.tolist(), 601)[:, 0])
        for first in (821, 831)
    ]
    named = {_their_name(key): value for key, value in pair.state_dict(keep_vars=True).items()}
    before = {key: value.detach().clone() for key, value in named.items()}
    loss, stats = pair.loss(*views, lengths, lengths, masked)
    loss.backward()
    gradients = {key: value.grad.clone() for key, value in named.items() if value.grad is not None}
    buffers = {
        key: value.clone()
        for key, value in named.items()
        if not value.is_floating_point() or ".running_" in key
    }
    _authors_first_step(pair.parameter_groups(), 1e-3, 0.04)
    pair.update_teacher(0.997)
    return float(loss.detach()), stats, gradients, buffers, before, named


@torch.no_grad()
def _authors_first_step(groups, rate, decay):
    """AdamW of `transformers`: eps before the bias correction, decay after the step."""
    for group in groups:
        for parameter in group["params"]:
            gradient = parameter.grad
            second = (0.001 * gradient.square()).sqrt() + 1e-6
            parameter -= rate * 0.001**0.5 / 0.1 * (0.1 * gradient) / second
            parameter -= rate * group.get("weight_decay", decay) * parameter


def _their_name(key):
    renamed = {"frame_projector": "projector", "frame_predictor": "predictor"}
    renamed |= {
        "encoder.norm.": "encoder.norm_frame.",
        "encoder.patch_embed": "encoder.patch_embed.patch_embed",
    }
    for ours, theirs in renamed.items():
        key = key.replace(ours, theirs)
    return key


def _norms(tensors):
    return [float(tensor.detach().double().norm()) for tensor in tensors]


@pytest.mark.full
def test_loss_and_outputs_of_a_step(step):
    loss, stats = step[:2]
    assert loss == pytest.approx(float(STEP["loss"]), abs=1e-5)
    student, teacher = stats["student"].chunk(2), stats["teacher"].chunk(2)
    parts = [float(distance(student[1], teacher[0])), float(distance(student[0], teacher[1]))]
    np.testing.assert_allclose(parts, STEP["loss_parts"], atol=1e-5)
    for network in ("student", "teacher"):
        assert stats[network].shape == tuple(STEP["out_shape"])
        np.testing.assert_allclose(stats[network][::15], STEP[f"{network}_out_every15row"], rtol=0, atol=1e-3)
        assert float(stats[f"output_std_{network}"]) == pytest.approx(float(STEP[f"std_{network}"]), abs=1e-6)


@pytest.mark.full
def test_gradients_and_buffers_of_a_step(step):
    gradients, buffers = step[2:4]
    assert set(gradients) == {f"student.{name}" for name in STEP["grad_all_names"]}  # the mask embedding too
    expected = dict(zip(STEP["grad_all_names"], STEP["grad_all_l2_fp64"], strict=True))
    samples = dict(zip(STEP["grad_all_names"], STEP["grad_sample16"], strict=True))
    names = [name for name in expected if name != "encoder.norm_frame.bias"]  # zero in exact arithmetic
    found = _norms(gradients[f"student.{name}"] for name in names)
    np.testing.assert_allclose(found, [expected[name] for name in names], rtol=3e-3)
    for name in names:
        flat = gradients[f"student.{name}"].flatten()
        sample = flat[:: max(1, flat.numel() // 16)][:16]
        np.testing.assert_allclose(sample, samples[name][: len(sample)], rtol=3e-3, atol=3e-5, err_msg=name)
    names = [name.removeprefix("model.") for name in STEP["bn_names"]]
    np.testing.assert_allclose(_norms(buffers[name] for name in names), STEP["bn_l2_after"], rtol=1e-5)


@pytest.mark.full
@pytest.mark.parametrize("network", ["student", "teacher"])
def test_changes_by_a_step_of_the_authors_optimiser(step, network):
    before, after = step[4:]
    names = [str(name) for name in STEP[f"{network}_names"]]
    kept = [i for i, name in enumerate(names) if name != "encoder.norm_frame.bias"]
    ours = [f"{network}.{names[i]}" for i in kept]
    changes = _norms(after[name] - before[name] for name in ours)
    np.testing.assert_allclose(changes, STEP[f"{network}_delta_l2"][kept], rtol=3e-3)
    np.testing.assert_allclose(_norms(after[n] for n in ours), STEP[f"{network}_l2_after"][kept], rtol=2e-5)
