import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from atst.model import frontend
from atst.model.frontend import FrontEnd, mel_filterbank, n_frames
from golden import recipes
from golden.numbers import arrays

FRONTEND = FrontEnd()
CENTRE_CROP = 192_000  # samples; the reference crops longer clips to their middle 12 s first


def logmel(waveform: np.ndarray) -> np.ndarray:
    return FRONTEND(torch.from_numpy(waveform)[None])[0].numpy()


@pytest.mark.parametrize("name", recipes.WAVEFORMS)
def test_logmel_equals_the_reference(name: str) -> None:
    golden = arrays("frontend")
    waveform = recipes.waveform(name)
    head = golden[f"wav_head__{name}"]
    np.testing.assert_array_equal(waveform[: len(head)], head)
    at = max(0, (len(waveform) - CENTRE_CROP) // 2)
    result = logmel(waveform[at : at + CENTRE_CROP])
    assert result.shape == (64, golden[f"frames__{name}"])
    assert np.linalg.norm(result.astype(np.float64)) == pytest.approx(golden[f"mel_l2__{name}"], rel=1e-5)
    if f"mel__{name}" in golden:
        np.testing.assert_allclose(result, golden[f"mel__{name}"], rtol=0, atol=1e-4)
    else:
        np.testing.assert_allclose(result[:, ::10], golden[f"mel_every10__{name}"], rtol=0, atol=1e-4)


def test_filterbank_and_window_equal_the_reference() -> None:
    golden = arrays("frontend")
    np.testing.assert_allclose(mel_filterbank().numpy(), golden["mel_filterbank"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(FRONTEND.window.numpy(), golden["window"], rtol=0, atol=1e-6)


def test_mel_power_equals_the_reference() -> None:
    expected = arrays("frontend")["melpower__noise_bursts_1s"]
    power = FRONTEND.mel_power(torch.from_numpy(recipes.waveform("noise_bursts_1s"))[None])[0].numpy()
    np.testing.assert_allclose(power, expected, rtol=1e-4, atol=1e-6 * expected.max())


def test_floor_is_under_each_clips_own_maximum() -> None:
    """The reference shares a maximum in a 2-D batch (middle number) and not in a 3-D one (last)."""
    alone, _, per_clip = arrays("frontend")["topdb_quiet_min_alone__batch2d__batch3d"]
    loud = recipes.waveform("noise_bursts_1s")
    quiet = recipes.waveform("quiet_tone_1s")
    batch = FRONTEND(torch.from_numpy(np.stack([loud, quiet])))
    assert float(batch[1].min()) == pytest.approx(alone, abs=1e-4)
    assert float(batch[1].min()) == pytest.approx(per_clip, abs=1e-4)


@pytest.mark.parametrize("seconds", [0.01, 0.6, 1.28, 1.3])
def test_a_long_waveform_in_parts_is_what_one_transform_gives(
    monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    waveform = np.random.default_rng(0).standard_normal(int(seconds * 16000)).astype(np.float32)
    at_once = logmel(waveform)
    monkeypatch.setattr(frontend, "BATCH_FRAMES", 32)
    np.testing.assert_allclose(logmel(waveform), at_once, rtol=0, atol=1e-5)


def test_waveforms_of_all_lengths_are_taken_together() -> None:
    noise = np.random.default_rng(0)
    waveforms = [noise.standard_normal(n).astype(np.float32) for n in (16000, 16000, 700, 300_000, 16000)]
    for waveform, result in zip(waveforms, FRONTEND.each(waveforms), strict=True):
        np.testing.assert_allclose(result.numpy(), logmel(waveform), rtol=0, atol=1e-5)


@settings(max_examples=40, deadline=None)
@given(st.one_of(st.integers(1, 2000), st.integers(1, 480_000)), st.sampled_from([0.0, 1e-7, 1e-3, 1.0]))
def test_every_length_from_one_sample_to_30_seconds(samples: int, level: float) -> None:
    waveform = np.random.default_rng(samples).standard_normal(samples).astype(np.float32) * np.float32(level)
    result = logmel(waveform)
    assert result.shape == (64, n_frames(samples)) == (64, max(samples, 513) // 160 + 1)
    assert np.isfinite(result).all()
    assert result.min() >= -1.3124
    assert result.max() - result.min() <= 2 * 80 / (50.6842 + 79.6482) + 1e-4


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 512))
def test_short_waveforms_are_zero_padded_to_513_samples(samples: int) -> None:
    waveform = np.random.default_rng(samples).standard_normal(samples).astype(np.float32)
    np.testing.assert_array_equal(logmel(waveform), logmel(np.pad(waveform, (0, 513 - samples))))


@settings(max_examples=20, deadline=None)
@given(st.integers(513, 40_000), st.integers(0, 10**6))
def test_a_clip_does_not_depend_on_its_batch(samples: int, seed: int) -> None:
    draws = np.random.default_rng(seed)
    clips = draws.standard_normal((3, samples)) * np.array([[1.0], [1e-3], [1e-6]])
    batch = FRONTEND(torch.from_numpy(clips.astype(np.float32))).numpy()
    for clip, together in zip(clips.astype(np.float32), batch, strict=True):
        np.testing.assert_allclose(logmel(clip), together, rtol=0, atol=1e-5)


def test_computed_in_float32_under_autocast() -> None:
    waveform = torch.from_numpy(recipes.waveform("noise_bursts_1s"))[None]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        under_autocast = FRONTEND(waveform)
    torch.testing.assert_close(under_autocast, FRONTEND(waveform), rtol=0, atol=0)
