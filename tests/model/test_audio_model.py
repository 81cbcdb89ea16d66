import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import atst
from atst.errors import AudioError, ModelError, UsageError
from atst.model.audio_model import AudioModel, ModelConfig
from atst.model.chunks import counted_chunks
from golden import recipes
from golden.numbers import arrays, encoder_state

RATE = 16_000


@pytest.fixture(scope="module")
def small() -> AudioModel:
    model = AudioModel(ModelConfig("small"))
    model.encoder.load_state_dict(encoder_state())
    return model


@pytest.fixture(scope="module")
def nano() -> AudioModel:
    return atst.load("random:nano")


def noise(seconds: float, seed: int = 0) -> NDArray[np.float32]:
    draws = np.random.default_rng(seed)
    return (0.1 * draws.standard_normal(int(seconds * RATE))).astype(np.float32)


def logmels(seeds: list[int], lengths: list[int]) -> list[torch.Tensor]:
    return [torch.from_numpy(recipes.mel_noise(s, n)) for s, n in zip(seeds, lengths, strict=True)]


@pytest.fixture(scope="module")
def long_clips() -> list[torch.Tensor]:
    golden = arrays("encoder_small")
    clips = logmels(golden["chunk_seed"].tolist(), golden["chunk_length"].tolist())
    padded = np.stack([np.pad(clip, ((0, 0), (0, 1201 - clip.shape[1]))) for clip in clips])
    np.testing.assert_array_equal(padded[:, ::16, ::100], golden["chunk_mel_every16_every100"])
    return clips


def test_published_pooling_equals_the_reference(small: AudioModel, long_clips: list[torch.Tensor]) -> None:
    golden = arrays("encoder_small")
    twelve = small.embed_logmels(long_clips, layers=12, pooling="published")
    np.testing.assert_allclose(twelve, golden["chunk601_n12_avg"], rtol=0, atol=1e-4)
    last = small.embed_logmels(long_clips, pooling="published")
    np.testing.assert_allclose(last, golden["chunk601_n1_avg"], rtol=0, atol=1e-4)
    np.testing.assert_allclose(last[:, :384], golden["chunk601_n1_cls"], rtol=0, atol=1e-4)


@pytest.mark.parametrize(("seed", "frames"), [(317, 601), (318, 1202)])
def test_clip_of_exactly_whole_chunks_equals_the_reference(small: AudioModel, seed: int, frames: int) -> None:
    expected = arrays("encoder_small")[f"chunk601_n1_avg_single{frames}"]
    result = small.embed_logmels(logmels([seed], [frames]), pooling="published")
    np.testing.assert_allclose(result, expected, rtol=0, atol=1e-4)


def test_segments_of_9_seconds_equal_the_reference(small: AudioModel, long_clips: list[torch.Tensor]) -> None:
    model = AudioModel(ModelConfig("small", segment_seconds=9.0))
    assert model.config.chunk_frames == 901
    model.encoder = small.encoder
    result = model.embed_logmels(long_clips, pooling="published")
    np.testing.assert_allclose(result, arrays("encoder_small")["chunk901_n1_avg"], rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", ["noise_bursts_1s", "loud_quiet_12s"])
def test_waveform_to_embedding_equals_the_reference(small: AudioModel, name: str) -> None:
    expected = arrays("encoder_small")[f"wav_chunk601_n1_avg__{name}"][0]
    result = small.embed(recipes.waveform(name), sample_rate=RATE, pooling="published")
    np.testing.assert_allclose(result, expected, rtol=0, atol=1e-4)


def test_bfloat16_stays_near_the_reference(small: AudioModel, long_clips: list[torch.Tensor]) -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result = small.embed_logmels(long_clips, layers=12, pooling="published")
    difference = np.abs(result - arrays("encoder_small")["chunk601_n12_avg"])
    assert difference.max() < 5e-2  # largest seen 2.7e-2
    assert difference.mean() < 5e-3


def test_poolings_differ_in_the_mean_of_long_clips_only(nano: AudioModel) -> None:
    short, long = noise(6.0), noise(12.0)
    options = {"sample_rate": RATE}
    np.testing.assert_array_equal(
        nano.embed(short, **options), nano.embed(short, pooling="published", **options)
    )
    mean, published = nano.embed(long, **options), nano.embed(long, pooling="published", **options)
    np.testing.assert_array_equal(mean[:128], published[:128])
    assert np.abs(mean[128:] - published[128:]).max() > 0.1


@pytest.mark.parametrize("chunk", [601, 901])
@pytest.mark.parametrize("whole", [1, 2, 3])
def test_chunk_rule_at_every_boundary(chunk: int, whole: int) -> None:
    starts = [i * chunk for i in range(whole)]
    at = whole * chunk
    assert counted_chunks(at - 1, chunk) == starts
    assert counted_chunks(at, chunk) == starts
    assert counted_chunks(at + chunk // 2, chunk) == starts
    assert counted_chunks(at + chunk // 2 + 1, chunk) == [*starts, at]
    assert counted_chunks(4, chunk) == [0]


@settings(max_examples=15, deadline=None)
@given(st.data())
def test_an_uncounted_tail_changes_nothing_and_a_counted_one_is_averaged(
    nano: AudioModel, data: st.DataObject
) -> None:
    frames = 601 + data.draw(st.sampled_from([0, 1, 3, 4, 299, 300, 301, 304, 600]))
    clip = torch.from_numpy(recipes.mel_noise(frames, frames))
    first = nano.embed_logmels([clip[:, :601]])
    result = nano.embed_logmels([clip])
    if frames - 601 > 300:
        expected = (first + nano.embed_logmels([clip[:, 601:]])) / 2
    else:
        expected = first
    np.testing.assert_allclose(result, expected, rtol=0, atol=1e-5)


@settings(max_examples=15, deadline=None)
@given(
    st.lists(st.integers(1, 14 * RATE), min_size=1, max_size=6),
    st.integers(1, 4),
    st.sampled_from(["mean", "published"]),
    st.randoms(use_true_random=False),
)
def test_embedding_is_independent_of_the_batch_and_its_order(
    nano: AudioModel, lengths: list[int], batch_size: int, pooling: str, random: "np.random.Generator"
) -> None:
    clips = [noise(length / RATE + 1e-5, seed) for seed, length in enumerate(lengths)]
    options = {"sample_rate": RATE, "layers": 2, "pooling": pooling}
    alone = np.stack([nano.embed(clip, **options) for clip in clips])
    order = list(range(len(clips)))
    random.shuffle(order)
    together = nano.embed([clips[i] for i in order], batch_size=batch_size, **options)
    np.testing.assert_allclose(together, alone[order], rtol=0, atol=1e-5)


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_channel_layout_of_a_mono_file_does_not_matter(
    nano: AudioModel, tmp_path: Path, channels: int
) -> None:
    waveform = noise(1.3)
    soundfile.write(tmp_path / "mono.wav", waveform, RATE, subtype="FLOAT")
    soundfile.write(tmp_path / "many.wav", np.stack([waveform] * channels, axis=1), RATE, subtype="FLOAT")
    mono, many = nano.embed([tmp_path / "mono.wav", tmp_path / "many.wav"])
    np.testing.assert_allclose(many, mono, rtol=0, atol=1e-5)


def test_files_arrays_and_tensors_embed_alike(nano: AudioModel, tmp_path: Path) -> None:
    waveform = noise(2.0)
    soundfile.write(tmp_path / "a.wav", waveform, RATE, subtype="FLOAT")
    path = nano.embed(tmp_path / "a.wav")
    assert path.shape == (256,)
    assert path.dtype == np.float32
    for same in (waveform, torch.from_numpy(waveform)):
        np.testing.assert_allclose(nano.embed(same, sample_rate=RATE), path, rtol=0, atol=1e-6)
    batch = nano.embed(np.stack([waveform, waveform]), sample_rate=RATE, layers=4)
    assert batch.shape == (2, 2 * 4 * 128)


def test_layers_are_cls_tokens_then_means_older_first(nano: AudioModel) -> None:
    waveform = noise(1.0)
    last = nano.embed(waveform, sample_rate=RATE)
    two = nano.embed(waveform, sample_rate=RATE, layers=2)
    np.testing.assert_array_equal(two[128:256], last[:128])
    np.testing.assert_array_equal(two[384:], last[128:])


def test_long_recordings_are_averaged_by_duration(nano: AudioModel, tmp_path: Path) -> None:
    waveform = noise(75.0)
    whole = nano.embed(waveform, sample_rate=RATE)
    head, tail = (
        nano.embed(part, sample_rate=RATE) for part in (waveform[: 60 * RATE], waveform[60 * RATE :])
    )
    np.testing.assert_allclose(whole, (60 * head + 15 * tail) / 75, rtol=0, atol=1e-5)
    soundfile.write(tmp_path / "long.wav", waveform, RATE, subtype="FLOAT")
    np.testing.assert_allclose(nano.embed(tmp_path / "long.wav"), whole, rtol=0, atol=1e-5)


@pytest.mark.parametrize("seconds", [0.01, 0.5, 6.0, 6.1, 13.0, 61.0])
def test_frames_cover_the_whole_clip(nano: AudioModel, seconds: float) -> None:
    waveform = noise(seconds)
    times, frames = nano.embed_frames(waveform, sample_rate=RATE, layers=2)
    assert frames.shape == (len(times), 2 * 128)
    assert times[0] == pytest.approx(0.015)
    steps = np.diff(times)
    assert np.all(steps > 0.019)
    assert np.all(steps < 0.041)
    assert seconds - 0.08 <= times[-1] <= max(seconds, 0.03)


def test_save_and_load_give_the_same_model(nano: AudioModel, tmp_path: Path) -> None:
    model = AudioModel(ModelConfig("nano", segment_seconds=3.0, training={"steps": 7}))
    model.save(tmp_path / "model")
    loaded = atst.load(tmp_path / "model")
    assert loaded.config == model.config
    assert loaded.fingerprint == model.fingerprint != nano.fingerprint
    waveform = noise(8.0)
    np.testing.assert_array_equal(
        loaded.embed(waveform, sample_rate=RATE), model.embed(waveform, sample_rate=RATE)
    )
    assert "steps: 7" in (tmp_path / "model" / "README.md").read_text()


def test_fingerprint_follows_a_model_that_is_trained(nano: AudioModel) -> None:
    model = atst.load("random:nano")
    before = model.fingerprint
    with torch.no_grad():
        model.encoder.cls_token += 1
    assert model.fingerprint != before == nano.fingerprint


def test_fingerprint_tells_weights_and_segment_apart(nano: AudioModel) -> None:
    assert nano.fingerprint == atst.load("random:nano").fingerprint
    other = AudioModel(ModelConfig("nano", segment_seconds=9.0))
    other.encoder.load_state_dict(nano.encoder.state_dict())
    assert other.fingerprint != nano.fingerprint
    changed = AudioModel(ModelConfig("nano"))
    changed.encoder.load_state_dict(nano.encoder.state_dict())
    with torch.no_grad():
        changed.encoder.norm.bias[0] += 1e-6
    assert changed.fingerprint != nano.fingerprint


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "config"),
        ("[]", "config"),
        ('{"size": "huge"}', "huge"),
        ('{"size": 3}', "'3'"),
        ('{"size": "nano", "format_version": 99}', "99"),
        ('{"size": "nano", "segment_seconds": "six"}', "segment_seconds"),
        ('{"size": "nano", "segment_seconds": 12}', "segment_seconds"),
        ('{"size": "nano", "segment_seconds": NaN}', "segment_seconds"),
    ],
)
def test_damaged_config_is_a_clear_error(
    nano: AudioModel, tmp_path: Path, content: str, message: str
) -> None:
    nano.save(tmp_path / "m")
    (tmp_path / "m" / "config.json").write_text(content)
    with pytest.raises(ModelError, match=message):
        atst.load(tmp_path / "m")


def test_damaged_weights_are_a_clear_error(nano: AudioModel, tmp_path: Path) -> None:
    nano.save(tmp_path / "m")
    weights = tmp_path / "m" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ModelError, match="safetensors"):
        atst.load(tmp_path / "m")
    nano.save(tmp_path / "tiny")
    config = json.loads((tmp_path / "tiny" / "config.json").read_text())
    (tmp_path / "tiny" / "config.json").write_text(json.dumps(config | {"size": "tiny"}))
    with pytest.raises(ModelError, match="safetensors"):
        atst.load(tmp_path / "tiny")


def test_wrong_use_is_a_clear_error(nano: AudioModel, tmp_path: Path) -> None:
    waveform = noise(0.1)
    with pytest.raises(UsageError, match="sample_rate"):
        nano.embed(waveform)
    with pytest.raises(UsageError, match="published"):
        nano.embed(waveform, sample_rate=RATE, pooling="sum")
    with pytest.raises(UsageError, match="1 to 4"):
        nano.embed(waveform, sample_rate=RATE, layers=5)
    with pytest.raises(AudioError, match="non-finite"):
        nano.embed(np.array([0.0, np.nan]), sample_rate=RATE)
    with pytest.raises(AudioError, match="no samples"):
        nano.embed(np.zeros(0), sample_rate=RATE)
    with pytest.raises(ModelError, match="no such model"):
        atst.load(tmp_path / "nothing")
    with pytest.raises(UsageError, match="small"):
        atst.load("random:huge")


def test_a_saved_model_can_be_read_by_whoever_may_read_the_folder(tmp_path: Path) -> None:
    atst.load("random:nano").save(tmp_path / "model")
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "model").iterdir()}
    assert modes["model.safetensors"] == modes["config.json"]
