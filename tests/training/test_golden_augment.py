import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from atst.training.augment import CANVAS, MixupBank, draw_crops, log_mixup_exp, resize_crop
from golden import recipes
from golden.numbers import arrays

GOLDEN = arrays("augment")
Floats = NDArray[np.float64]


def test_resize_crop_equals_the_reference() -> None:
    clip = recipes.mel_smooth(701, 601)
    np.testing.assert_array_equal(clip[::16, ::100], GOLDEN["mel_every16_every100"])
    crops = torch.from_numpy(GOLDEN["params_i_j_h_w"])
    result = resize_crop(torch.from_numpy(clip).expand(len(crops), -1, -1), crops)
    np.testing.assert_allclose(result[:, :, ::2], GOLDEN["rrc_out_every2"], rtol=0, atol=5e-5)


def test_autocast_does_not_reach_the_resize_crop() -> None:
    clip = torch.from_numpy(recipes.mel_noise(4, 301))[None]
    crops = torch.tensor([[3, 100, 50, 250]])
    with torch.autocast("cpu", torch.bfloat16):
        result = resize_crop(clip, crops)
    torch.testing.assert_close(result, resize_crop(clip, crops), rtol=0, atol=1e-6)


def test_identity_crop_changes_nothing() -> None:
    clip = torch.from_numpy(recipes.mel_noise(3, 601))[None]
    torch.testing.assert_close(resize_crop(clip, torch.tensor([[0, 150, 64, 601]])), clip, rtol=0, atol=1e-5)


def bicubic_float64(image: Floats, shape: tuple[int, int]) -> Floats:
    """Corners aligned, a = -0.75, edges repeated: the definition, one output value at a time."""

    def kernel(x: float) -> float:
        a, x = -0.75, abs(x)
        if x <= 1:
            return (a + 2) * x**3 - (a + 3) * x**2 + 1
        return a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a if x < 2 else 0.0

    def line(values: Floats, size: int) -> Floats:  # along the first axis
        out = np.zeros((size, *values.shape[1:]))
        for i in range(size):
            at = i * (len(values) - 1) / max(size - 1, 1)
            for tap in range(int(np.floor(at)) - 1, int(np.floor(at)) + 3):
                out[i] += kernel(at - tap) * values[min(max(tap, 0), len(values) - 1)]
        return out

    return line(line(image, shape[0]).T, shape[1]).T


@settings(max_examples=25, deadline=None)
@given(
    st.integers(8, 90),
    st.lists(st.floats(0, 1, exclude_max=True), min_size=4, max_size=4),
    st.integers(0, 99),
)
def test_resize_crop_equals_a_float64_restatement(frames: int, draws: list[float], seed: int) -> None:
    clip = recipes.mel_noise(seed, frames)
    crops = draw_crops(torch.tensor([draws]), 64, frames)
    top, left, height, width = crops[0].tolist()
    canvas = np.zeros((64, int(CANVAS * frames)))
    offset = (canvas.shape[1] - frames) // 2
    canvas[:, offset : offset + frames] = clip
    expected = bicubic_float64(canvas[top : top + height, left : left + width], (64, frames))
    result = resize_crop(torch.from_numpy(clip)[None], crops)[0]
    np.testing.assert_allclose(result, expected, rtol=0, atol=5e-5)


def test_crops_are_drawn_as_in_the_reference() -> None:
    draws = torch.rand(100_000, 4, generator=torch.Generator().manual_seed(0))
    crops = draw_crops(draws, 64, 601).double()
    names = ("mean", "std", "min", "max")
    mean, std, least, most = (GOLDEN[f"draw_{name}_i_j_h_w"] for name in names)
    error = 5 * std / np.sqrt(len(draws)) * np.sqrt(2)  # both sides are samples of 100,000
    assert np.all(np.abs(crops.mean(0).numpy() - mean) < error)
    np.testing.assert_allclose(crops.std(0), std, rtol=0.02)
    assert np.all(np.abs(crops.amin(0).numpy() - least) <= 3)
    assert np.all(np.abs(crops.amax(0).numpy() - most) <= 3)
    assert float((crops[:, 2] == 64).double().mean()) == pytest.approx(
        float(GOLDEN["draw_fraction_h64"]), abs=0.01
    )
    assert float((crops[:, 3] == 901).double().mean()) == pytest.approx(
        float(GOLDEN["draw_fraction_w901"]), abs=5e-4
    )


@settings(max_examples=50)
@given(st.lists(st.floats(0, 1, exclude_max=True, width=32), min_size=4, max_size=4), st.integers(4, 1003))
def test_crops_lie_on_the_canvas(draws: list[float], frames: int) -> None:
    top, left, height, width = draw_crops(torch.tensor([draws]), 64, frames)[0].tolist()
    assert 0 <= top <= top + height <= 64
    assert 0 <= left <= left + width <= int(1.5 * frames)
    assert height >= 38
    assert width >= int(0.6 * frames)


def test_mixup_equals_the_reference() -> None:
    x, z = (torch.from_numpy(GOLDEN[f"mix_{name}"]) for name in "xz")
    weights = torch.from_numpy(GOLDEN["mix_alpha_of_x"]).float()[:, None, None]
    np.testing.assert_allclose(log_mixup_exp(x, z, weights), GOLDEN["mix_out"], rtol=0, atol=2e-6)


@settings(max_examples=30)
@given(st.integers(0, 1000), st.floats(0, 1, width=32))
def test_mixup_limits(seed: int, weight: float) -> None:
    x, z = (torch.from_numpy(recipes.mel_noise(s, 9)) for s in (seed, seed + 1))
    torch.testing.assert_close(log_mixup_exp(x, z, torch.tensor(1.0)), x, rtol=0, atol=1e-5)
    torch.testing.assert_close(log_mixup_exp(x, z, torch.tensor(0.0)), z, rtol=0, atol=1e-5)
    torch.testing.assert_close(log_mixup_exp(x, x, torch.tensor(weight)), x, rtol=0, atol=1e-5)
    mixed = log_mixup_exp(x, z, torch.tensor(weight))
    assert bool((mixed >= torch.minimum(x, z) - 1e-5).all())
    assert bool((mixed <= torch.maximum(x, z) + 1e-5).all())


def test_a_bank_mixes_each_clip_with_one_of_those_before_it():
    rng = torch.Generator().manual_seed(0)
    clips = torch.randn(23, 64, 7, generator=rng) * 0.3
    draws = torch.rand(23, 2, generator=rng)
    bank = MixupBank(size=10)
    batches = zip(clips.split([4, 6, 9, 4]), draws.split([4, 6, 9, 4]), strict=True)
    mixed = torch.cat([bank.mix(batch.clone(), drawn) for batch, drawn in batches])
    torch.testing.assert_close(mixed[0], clips[0])  # there is none before it
    for number in range(1, len(clips)):
        available = min(number, 10)
        earlier = clips[number - 1 - int(draws[number, 0] * available)]
        expected = log_mixup_exp(clips[number], earlier, 1.0 - 0.4 * draws[number, 1])
        torch.testing.assert_close(mixed[number], expected)
