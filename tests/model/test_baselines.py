import builtins

import numpy as np
import pytest
import soundfile
import torch

from atst.errors import AudioError, UsageError
from atst.model.baselines import BASELINES, LogMelBaseline, OpenSmileBaseline
from atst.model.frontend import FrontEnd

WAVEFORM = np.random.default_rng(0).normal(0, 0.1, 16000).astype(np.float32)


def test_log_mel_statistics_are_those_of_the_front_end():
    logmel = FrontEnd()(torch.from_numpy(WAVEFORM)[None])[0].numpy()
    vector = LogMelBaseline().embed(WAVEFORM, sample_rate=16000)
    np.testing.assert_allclose(vector, np.concatenate([logmel.mean(1), logmel.std(1)]), atol=1e-5)


def test_all_forms_of_sound_give_the_same(tmp_path):
    model = LogMelBaseline()
    soundfile.write(tmp_path / "a.wav", WAVEFORM, 16000, subtype="FLOAT")
    one = model.embed(WAVEFORM, sample_rate=16000)
    assert one.shape == (128,)
    for many in (
        model.embed([tmp_path / "a.wav"]),
        model.embed(WAVEFORM[None], sample_rate=16000),
        model.embed([torch.from_numpy(WAVEFORM)], sample_rate=16000, layers=12, pooling="published"),
        model.embed(torch.from_numpy(WAVEFORM)[None], sample_rate=16000),
    ):
        assert many.shape == (1, 128)
        np.testing.assert_allclose(many[0], one, atol=1e-6)
    np.testing.assert_allclose(model.embed(str(tmp_path / "a.wav")), one, atol=1e-6)


def test_what_cannot_be_embedded_is_said():
    with pytest.raises(UsageError, match="sample_rate"):
        LogMelBaseline().embed(WAVEFORM)
    with pytest.raises(AudioError):
        LogMelBaseline().embed(np.zeros(0, np.float32), sample_rate=16000)


def test_fingerprints_differ():
    assert LogMelBaseline().fingerprint == LogMelBaseline().fingerprint != ""


def test_opensmile_gives_finite_functionals_of_any_length():
    pytest.importorskip("opensmile")
    model = OpenSmileBaseline()
    vectors = model.embed([WAVEFORM, WAVEFORM[:1600]], sample_rate=16000)
    assert vectors.shape == (2, 6373)
    assert np.isfinite(vectors).all()
    assert model.fingerprint != LogMelBaseline().fingerprint


def test_without_the_package_the_error_names_the_extra(monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name == "opensmile":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UsageError, match=r'pip install "atst-audio\[baselines\]"'):
        OpenSmileBaseline()


@pytest.mark.parametrize(
    ("name", "width"), [("functionals", 1304), ("descriptors", 462), ("functionals+descriptors", 1766)]
)
@pytest.mark.parametrize("samples", [1, 1600, 80000])
def test_functionals_are_finite_for_any_sound(name, width, samples):
    model = BASELINES[name]()
    for sound in (np.zeros(samples, np.float32), WAVEFORM.repeat(5)[:samples]):
        vector = model.embed(sound, sample_rate=16000)
        assert vector.shape == (width,)
        assert np.isfinite(vector).all()
    assert model.name == name


def test_descriptors_tell_pitch_and_functionals_tell_how_fast_a_sound_changes():
    time = np.arange(32000) / 16000
    notes = [np.sin(2 * np.pi * hertz * time).astype(np.float32) for hertz in (220.0, 440.0)]
    low, high = (BASELINES["descriptors"]().embed(note, sample_rate=16000)[:48] for note in notes)
    # the mean autocorrelation at the periods of 48 semitones from MIDI number 36 on
    assert low[57 - 36] == pytest.approx(low.max(), abs=0.02)
    assert high[69 - 36] == pytest.approx(high.max(), abs=0.02)
    assert low[45 - 36] > 0.5 > low[51 - 36]  # two periods, one and a half
    noise = np.random.default_rng(1).normal(0, 0.1, 32000)
    courses = [
        BASELINES["functionals"]()
        .embed((noise * (1.1 + np.sin(2 * np.pi * rate * time))).astype(np.float32), sample_rate=16000)[-448:]
        .reshape(7, 64)
        for rate in (3.0, 12.0)
    ]  # bands of modulation from 0.5, 1, 2, 4, 8, 16, 32 Hz
    assert courses[0].mean(1).argmax() == 2
    assert courses[1].mean(1).argmax() == 4
