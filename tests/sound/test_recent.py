"""Stretches of one file after the other are decoded once where a decoder must begin at the start."""

import numpy as np
import pytest
import soundfile
from kinds import KINDS, sweep, write

from atst.errors import AudioError
from atst.sound import audio, recent
from atst.sound.ffmpeg import Container
from atst.sound.recent import Recent

PLACES = [(3.0, 0.5), (1.0, 0.5), (3.9, 2.0), (0.0, 0.1)]


@pytest.fixture
def opened(monkeypatch) -> list[str]:
    """The files that FFmpeg opened."""
    names = []

    def note(self, path, *arguments):
        names.append(path)
        return begin(self, path, *arguments)

    begin = Container.__init__
    monkeypatch.setattr(Container, "__init__", note)
    return names


def test_a_file_is_decoded_once_for_many_stretches(tmp_path, opened):
    path = write(tmp_path / "a.oga", KINDS["ogg-flac"], 16000, sweep(16000, 4.0))
    whole, reader = audio.read(path), Recent()
    for start, duration in PLACES * 5:
        span = whole[round(start * 16000) : round((start + duration) * 16000)]
        np.testing.assert_allclose(reader.read(path, start, duration), span, atol=1e-6)
    assert len(opened) < 6
    with pytest.raises(AudioError, match="beyond its end"):
        reader.read(path, 4.0, 1.0)
    write(path, KINDS["ogg-flac"], 16000, -sweep(16000, 4.0)[:48000])
    np.testing.assert_allclose(reader.read(path, 1.0, 0.5), -whole[16000:24000], atol=1e-4)


def test_another_channel_is_not_what_was_kept(tmp_path):
    path = write(tmp_path / "a.ac3", KINDS["ac3-ac3"], 44100, sweep(44100, 2.0), channels=2)
    reader = Recent()
    for channel in (None, 0, 0, 1, 1):
        expected = audio.read(path, 1.0, 0.5, channel=channel)
        np.testing.assert_allclose(reader.read(path, 1.0, 0.5, channel=channel), expected, atol=1e-4)


@pytest.mark.parametrize("name", ["WAV-PCM_16", "mp3-libmp3lame"])
def test_nothing_is_kept_of_what_can_be_sought(tmp_path, name):
    path = write(tmp_path / "a", KINDS[name], 44100, sweep(44100, 4.0))
    reader = Recent()
    for start, duration in PLACES:
        expected = audio.read(path, start, duration)
        np.testing.assert_array_equal(reader.read(path, start, duration), expected)
    assert reader.whole is None


def test_what_can_be_sought_is_opened_for_each_stretch_and_once_to_decide(tmp_path, monkeypatch):
    path = write(tmp_path / "a.wav", KINDS["WAV-PCM_16"], 44100, sweep(44100, 4.0))
    opened = []
    begin = soundfile.SoundFile.__init__

    def note(self, *arguments, **options):
        opened.append(arguments)
        begin(self, *arguments, **options)

    monkeypatch.setattr(soundfile.SoundFile, "__init__", note)
    audio.read(path, 1.0, 0.5)
    (each, reader) = len(opened), Recent()
    opened.clear()
    for start, duration in PLACES * 5:
        reader.read(path, start, duration)
    assert len(opened) <= each * (len(PLACES) * 5 + 1)


def test_nothing_is_kept_of_what_is_too_long(tmp_path, monkeypatch):
    monkeypatch.setattr(recent, "LIMIT", 100_000)
    path = write(tmp_path / "a.oga", KINDS["ogg-flac"], 16000, sweep(16000, 4.0))
    reader = Recent()
    for start, duration in PLACES:
        np.testing.assert_array_equal(reader.read(path, start, duration), audio.read(path, start, duration))
    assert reader.whole is None
