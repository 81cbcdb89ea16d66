"""Stretches of recordings as files for a browser."""

import io

import matplotlib.image
import numpy as np
import pytest
import soundfile

from atst.errors import AudioError
from atst.library import media


def tone(hertz, rate, seconds=2.0):
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


@pytest.mark.parametrize(
    ("rate", "kind"), [(8000, "flac"), (44100, "flac"), (384000, "flac"), (705600, "wav")]
)
def test_a_stretch_keeps_its_own_rate(tmp_path, rate, kind):
    waveform = tone(rate / 5, rate)
    soundfile.write(tmp_path / "a.wav", np.stack([waveform, waveform], 1), rate)
    sound, own = media.read(tmp_path / "a.wav", 0.5, 1.25)
    assert own == rate
    np.testing.assert_allclose(sound, waveform[round(0.5 * rate) : round(1.25 * rate)], atol=1e-3)
    mime, content = media.audio_file(sound, own)
    assert mime == f"audio/{kind}"
    decoded, again = soundfile.read(io.BytesIO(content), dtype="float32")
    assert again == rate
    np.testing.assert_allclose(decoded, sound, atol=1e-4)


def test_what_is_not_known_of_a_stretch(tmp_path):
    soundfile.write(tmp_path / "a.wav", tone(1000, 8000, 70), 8000)
    assert len(media.read(tmp_path / "a.wav", np.nan, np.nan)[0]) == 60 * 8000
    assert len(media.read(tmp_path / "a.wav", 65, np.nan)[0]) == 5 * 8000
    with pytest.raises(AudioError, match="no sound from 80 s on"):
        media.read(tmp_path / "a.wav", 80, 90)


def test_a_recording_that_is_no_more(tmp_path):
    with pytest.raises(AudioError, match="no such file"):
        media.read(tmp_path / "a.wav")


@pytest.mark.parametrize("rate", [8000, 44100, 384000])
def test_a_picture_shows_high_tones_above_low_ones(rate):
    rows = []
    for hertz in (rate / 20, rate / 4):
        image = matplotlib.image.imread(io.BytesIO(media.picture(tone(hertz, rate), rate)))
        assert image.shape[0] <= 96
        assert 50 < image.shape[1] <= 481
        rows.append(image[..., :3].sum(2).mean(1).argmax())
    assert rows[1] < rows[0]


@pytest.mark.parametrize("samples", [1, 100, 1000])
def test_short_and_silent_sound_has_a_picture(samples):
    assert media.picture(np.zeros(samples, np.float32), 16000).startswith(b"\x89PNG")
    assert media.data_uri("image/png", b"ab") == "data:image/png;base64,YWI="
