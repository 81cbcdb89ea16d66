"""Each test is a clause of https://hearbenchmark.com/hear-api.html."""

import inspect

import numpy as np
import pytest
import torch

import atst
from atst.errors import ModelError, UsageError
from atst.hear import HearModel, get_scene_embeddings, get_timestamp_embeddings, load_model


@pytest.fixture(scope="module", params=["random:nano", "random:conv-nano"])
def model(request: pytest.FixtureRequest) -> HearModel:
    return load_model(request.param)


def sounds(count: int, seconds: float) -> torch.Tensor:
    drawn = torch.randn(count, round(16000 * seconds), generator=torch.Generator().manual_seed(1))
    return (0.1 * drawn).clamp(-1, 1)


def test_load_model_takes_a_path_and_returns_a_pytorch_module(tmp_path):
    atst.load("random:nano").save(tmp_path / "model")
    assert isinstance(load_model(str(tmp_path / "model")), torch.nn.Module)
    assert next(iter(inspect.signature(load_model).parameters)) == "model_file_path"


def test_the_path_may_be_left_out():
    # HEAR's evaluation calls it without a path, or with an empty one, where no model is named.
    assert load_model().audio.name == load_model("").audio.name == "atst-nano"


def test_a_path_that_is_not_there_is_named():
    with pytest.raises(ModelError, match="nothing-here"):
        load_model("nothing-here")


def test_the_model_says_its_rate_and_sizes(model):
    assert model.sample_rate in (16000, 22050, 32000, 44100, 48000)
    assert type(model.scene_embedding_size) is int
    assert type(model.timestamp_embedding_size) is int


@pytest.mark.parametrize("shape", [(1, 1), (3, 300), (2, 16000), (2, 16000 * 7 + 11)])
def test_scene_embeddings_are_one_float32_vector_a_sound(model, shape):
    scenes = get_scene_embeddings(torch.zeros(shape), model)
    assert scenes.dtype == torch.float32
    assert scenes.shape == (shape[0], model.scene_embedding_size)


@pytest.mark.parametrize("shape", [(1, 1), (3, 300), (2, 16000), (2, 16000 * 7 + 11)])
def test_timestamp_embeddings_are_float32_vectors_with_their_times(model, shape):
    frames, times = get_timestamp_embeddings(torch.zeros(shape), model)
    assert (frames.dtype, times.dtype) == (torch.float32, torch.float32)
    assert times.shape[0] == shape[0]
    assert times.shape[1] > 0
    assert frames.shape == (*times.shape, model.timestamp_embedding_size)


def test_times_are_centres_at_regular_intervals_of_at_most_50_ms(model):
    _, times = get_timestamp_embeddings(sounds(2, 61.3), model)  # longer than a window of this library
    assert torch.equal(times[0], times[1])
    steps = times[0].diff()
    torch.testing.assert_close(steps, torch.full_like(steps, 40.0), rtol=0, atol=0.01)
    assert 0 <= times[0, 0] < 40
    assert 61_300 - 60 <= times[0, -1] <= 61_300


def test_a_sound_has_its_effect_at_its_time(model):
    silence = torch.zeros(1, 32000)
    click = silence.clone()
    click[0, 16000:16160] = 0.5  # ms 1000 to 1010
    before, times = get_timestamp_embeddings(silence, model)
    after, _ = get_timestamp_embeddings(click, model)
    change = (after - before).norm(dim=-1)[0]
    assert abs(times[0, change.argmax()] - 1005) <= 60


def test_a_sound_is_embedded_alike_in_any_batch(model):
    batch = sounds(3, 1.0)
    torch.testing.assert_close(
        get_scene_embeddings(batch, model)[1:2], get_scene_embeddings(batch[1:2], model), rtol=0, atol=1e-5
    )
    alone, together = (get_timestamp_embeddings(part, model)[0] for part in (batch[1:2], batch))
    torch.testing.assert_close(alone, together[1:2], rtol=0, atol=1e-5)


def test_embeddings_are_those_of_the_library(model):
    sound = sounds(1, 2.0)
    layers = {"random:nano": 4, "random:conv-nano": None}[model.audio.name]
    expected = atst.load(model.audio.name).embed(sound[0].numpy(), sample_rate=16000, layers=layers)
    np.testing.assert_allclose(get_scene_embeddings(sound, model)[0].numpy(), expected, atol=1e-6)


@pytest.mark.full
def test_twenty_minutes_are_embedded(model):
    audio = sounds(1, 20 * 60)
    assert get_scene_embeddings(audio, model).isfinite().all()
    assert get_timestamp_embeddings(audio, model)[0].shape[1] == 20 * 60 * 25


def test_models_without_frames_are_refused():
    with pytest.raises(UsageError, match=r"logmel.*an encoder in PyTorch, with embeddings of frames"):
        load_model("logmel")


@pytest.mark.parametrize("shape", [(16000,), (1, 1, 16000), (0, 16000), (2, 0)])
def test_audio_of_another_shape_is_refused(model, shape):
    for function in (get_scene_embeddings, get_timestamp_embeddings):
        with pytest.raises(UsageError, match="n_sounds, n_samples"):
            function(torch.zeros(shape), model)
