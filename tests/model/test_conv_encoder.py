"""The convolutional encoder: padding changes nothing, every parameter learns, folders keep it."""

import numpy as np
import pytest
import torch

import atst
from atst.errors import ModelError, UsageError
from atst.model.audio_model import AudioModel, ModelConfig
from atst.model.conv_encoder import CONV_SIZES, ConvEncoder
from atst.model.whitening import Whitening


def random_model(size="nano"):
    """A model whose statistics of BatchNorm are not the untouched ones."""
    torch.manual_seed(0)
    model = AudioModel(ModelConfig(size, stem="conv"))
    for module in model.encoder.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 2.0)
    return model


@pytest.mark.parametrize("size", CONV_SIZES)
def test_an_embedding_does_not_depend_on_its_batch(size):
    model = random_model(size)
    rng = np.random.default_rng(1)
    sounds = [
        rng.standard_normal(int(seconds * 16000)).astype(np.float32) * 0.1
        for seconds in (0.1, 0.517, 1.0, 3.333, 0.96, 7.0)
    ]
    together = model.embed(sounds, sample_rate=16000)
    alone = np.stack([model.embed(sound, sample_rate=16000) for sound in sounds])
    assert together.shape == (len(sounds), model.embedding_size)
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_tokens_of_a_padded_clip_are_those_without_padding():
    encoder = random_model().encoder
    logmels = torch.randn(2, 64, 130)
    padded = torch.cat([logmels, torch.full((2, 64, 70), 5.0)], dim=2)
    alone = encoder.levels(logmels, layers=2, stem=True)
    masked = encoder.levels(padded, torch.tensor([130, 130]), layers=2, stem=True)
    for left, right in zip(alone, masked, strict=True):
        torch.testing.assert_close(right[:, : left.shape[1]], left, atol=1e-5, rtol=1e-5)


def test_every_parameter_gets_a_gradient():
    encoder = ConvEncoder("nano").train()
    levels = encoder.levels(torch.randn(4, 64, 97), layers=2, stem=True, keep=0.5)
    sum(level.square().mean() for level in levels).backward()
    assert not [name for name, parameter in encoder.named_parameters() if parameter.grad is None]


def test_the_blocks_see_the_share_of_tokens_that_is_kept():
    encoder = ConvEncoder("nano").train()
    stem, last, first_block, _ = encoder.levels(torch.randn(3, 64, 97), layers=2, stem=True, keep=0.5)
    assert (stem.shape[1:], last.shape[1:], first_block.shape[1]) == ((25, 1024), (25, 512), 12)


def test_frames_are_40_ms_apart_and_cover_the_clip():
    model = random_model()
    times, frames = model.embed_frames(np.zeros(61 * 16000 + 8000, np.float32), sample_rate=16000)
    assert frames.shape == (1500 + 38, 512)
    np.testing.assert_allclose(np.diff(times), 0.04, atol=1e-9)
    assert (times[0], times[1500]) == (0.0, 60.0)


def test_a_long_recordings_statistics_are_those_of_all_its_tokens():
    model = random_model()
    sound = np.random.default_rng(0).standard_normal(75 * 16000).astype(np.float32) * 0.1
    _, frames = model.embed_frames(sound, sample_rate=16000, levels="stem")
    vector = model.embed(sound, sample_rate=16000, levels="stem")
    # A window of 60 s has one token more than 1500, centred on its end, which embed_frames leaves out.
    size = frames.shape[1]
    np.testing.assert_allclose(vector[:size], frames.mean(0), atol=5e-3)
    np.testing.assert_allclose(vector[size : 2 * size], frames.std(0), atol=5e-3)
    assert np.abs(vector[2 * size :] - frames.max(0)).mean() < 0.02  # the excess token may hold a maximum


def test_a_folder_keeps_it(tmp_path):
    model = random_model("tiny")
    model.encoder.standardise(0.1, 0.4)
    model.save(tmp_path / "m")
    loaded = atst.load(tmp_path / "m")
    sound = np.random.default_rng(0).standard_normal(20000).astype(np.float32)
    assert loaded.fingerprint == model.fingerprint
    np.testing.assert_array_equal(
        loaded.embed(sound, sample_rate=16000), model.embed(sound, sample_rate=16000)
    )
    assert "three convolutions" in (tmp_path / "m" / "README.md").read_text()


def test_read_outs_have_the_sizes_that_they_say():
    model = random_model()
    sound = np.random.default_rng(0).standard_normal(20000).astype(np.float32)
    sizes = {"stem": 4608, "stem-last": 1536, "blocks": 768, "all": 5376}
    for levels, size in sizes.items():
        assert model.embed(sound, sample_rate=16000, levels=levels).shape == (size,)
    assert model.embed(sound, sample_rate=16000, pooling="mean").shape == (5376 // 3,)
    patches = AudioModel(ModelConfig("nano"))
    assert patches.embed(sound, sample_rate=16000).shape == (256,)
    assert patches.embed(sound, sample_rate=16000, layers=4, pooling="statistics").shape == (4 * 128 * 3,)
    with pytest.raises(UsageError, match="levels 'stem'"):
        patches.embed(sound, sample_rate=16000, levels="stem")
    with pytest.raises(UsageError, match="stem-lst"):
        model.embed(sound, sample_rate=16000, levels="stem-lst")


def test_whitening_shrinks_what_all_sounds_share_and_is_the_models_own_from_then_on(tmp_path):
    model = random_model()
    rng = np.random.default_rng(0)
    logmels = [torch.from_numpy(rng.standard_normal((64, 40)).astype(np.float32)) + i / 10 for i in range(60)]
    plain = model.embed_logmels(logmels, levels="stem-last")
    before = model.fingerprint
    model.whiten(iter(logmels))
    white = model.embed_logmels(logmels, levels="stem-last")
    assert white.shape == plain.shape
    np.testing.assert_array_equal(
        model.embed_logmels(logmels, levels="stem-last", pooling="statistics"), plain
    )

    def largest_share(vectors):
        variances = np.linalg.svd((vectors - vectors.mean(0)) / (vectors.std(0) + 1e-6))[1] ** 2
        return variances[0] / variances.sum()

    assert largest_share(white) < 0.5 * largest_share(plain)
    assert model.fingerprint != before
    model.save(tmp_path / "m")
    loaded = atst.load(tmp_path / "m")
    assert loaded.fingerprint == model.fingerprint
    np.testing.assert_array_equal(loaded.embed_logmels(logmels), model.embed_logmels(logmels))
    with pytest.raises(UsageError, match="not fitted for levels 'stem' and 2 blocks"):
        loaded.embed_logmels(logmels, levels="stem", pooling="whitened")


def test_whitening_of_another_read_out_is_refused(tmp_path):
    model = random_model()
    model.whitening["stem-last"] = Whitening(10, 2)
    model.save(tmp_path / "m")
    with pytest.raises(ModelError, match="takes 10 values, not 1536"):
        atst.load(tmp_path / "m")


def test_a_read_out_can_be_made_the_models_own(tmp_path):
    model = random_model().read_as(levels="stem-last", pooling="statistics")
    assert model.embedding_size == 1536
    model.save(tmp_path / "m")
    assert atst.load(tmp_path / "m").embedding_size == 1536
    with pytest.raises(UsageError, match="layers"):
        model.read_as(layers=9)
