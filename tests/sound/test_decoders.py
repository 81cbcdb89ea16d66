"""What decoders do that users should not see: exceptions of any class, lines on stderr, text as sound."""

import struct
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from kinds import KINDS, sweep, write

import atst.sound.ffmpeg
import atst.sound.sndfile
from atst.errors import AudioError
from atst.sound import audio
from atst.sound.audio import SAMPLE_RATE


class MadeUpError(Exception):
    """Of a class that nobody could have listed."""


def raising(error: BaseException):
    def fail(*arguments, **options):
        raise error

    return fail


@pytest.mark.parametrize("name", ["WAV-PCM_16", "mp4-aac"])
def test_any_exception_of_a_decoder_is_an_error_of_the_file(tmp_path, monkeypatch, name):
    path = write(tmp_path / "a", KINDS[name], 16000, sweep(16000, 1.0))
    monkeypatch.setattr(soundfile.SoundFile, "read", raising(MadeUpError("on\nfire")))
    monkeypatch.setattr(atst.sound.ffmpeg, "_values", raising(MadeUpError("on\nfire")))
    for use in (audio.read, lambda path: list(audio.stream(path, 1.0))):
        with pytest.raises(AudioError) as caught:
            use(path)
        assert str(caught.value) == f"{path}: cannot be decoded (MadeUpError: on fire)"


@pytest.mark.parametrize("error", [MadeUpError, RuntimeError, ValueError])
@pytest.mark.parametrize(
    "place", ["soxr.resample", "soxr.ResampleStream", "numpy.isfinite", "numpy.concatenate"]
)
def test_any_exception_of_resampling_is_an_error_of_the_file(tmp_path, monkeypatch, error, place):
    path = write(tmp_path / "a.wav", KINDS["WAV-PCM_16"], 44100, sweep(44100, 1.0))
    monkeypatch.setattr(place, raising(error("on fire")))
    reasons = []
    for use in (lambda path: audio.read(path, 0.0, 0.9), lambda path: list(audio.stream(path, 0.3))):
        try:
            use(path)
        except AudioError as caught:
            reasons.append(str(caught))
    assert reasons, "each is used in one of them"
    assert set(reasons) == {f"{path}: cannot be decoded ({error.__name__}: on fire)"}


@pytest.mark.parametrize("error", [KeyboardInterrupt(), MemoryError()])
def test_what_is_not_the_fault_of_the_file_goes_through(tmp_path, monkeypatch, error):
    path = write(tmp_path / "a.wav", KINDS["WAV-PCM_16"], 16000, sweep(16000, 1.0))
    monkeypatch.setattr(soundfile.SoundFile, "read", raising(error))
    with pytest.raises(type(error)):
        audio.read(path)


def test_a_sound_track_without_a_decoder(tmp_path):
    """The samples of a QuickTime file are said to be in a codec that nobody knows."""
    path = write(tmp_path / "a.mov", KINDS["mov-pcm_s16le"], 16000, sweep(16000, 1.0))
    path.write_bytes(path.read_bytes().replace(b"sowt", b"zzzz"))
    with pytest.raises(AudioError, match="no decoder for its sound track"):
        audio.read(path)


@pytest.mark.parametrize("bits", [36, 45, 48, 53])
def test_wav_of_odd_depths(tmp_path, bits):
    """Valid, of scientific libraries; read or refused in one line."""
    width = (bits + 7) // 8
    form = struct.pack("<HHIIHH", 1, 1, 16000, 16000 * width, width, bits)
    samples = bytes(width * 16000)
    chunks = b"fmt " + struct.pack("<I", 16) + form + b"data" + struct.pack("<I", len(samples)) + samples
    path = tmp_path / "odd.wav"
    path.write_bytes(b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks)
    with pytest.raises(AudioError) as caught:
        audio.read(path)
    assert "no decoder" in str(caught.value) or "not audio" in str(caught.value)


ENDINGS = "au snd raw vox gsm wav mp3 g722 shn tak ac3 aac amr loas voc dts ape mpc txt".split()  # noqa: SIM905


@pytest.mark.parametrize("ending", ENDINGS)
def test_text_is_not_audio_whatever_its_name(tmp_path, ending):
    path = tmp_path / f"README.{ending}"
    path.write_text("These sounds were recorded in the garden.\n" * 100)
    with pytest.raises(AudioError, match="not audio in a known format"):
        audio.read(path)


@pytest.mark.parametrize("channels", [1, 2, 8])
def test_a_frame_gives_as_many_planes_as_it_has_channels(tmp_path, monkeypatch, channels):
    """More must not be asked for: what lies behind them is not sound."""
    asked = []

    class Plane(bytes):
        def __new__(cls, frame, number):
            asked.append(number)
            return bytes(4 * frame.samples)

    monkeypatch.setattr(atst.sound.ffmpeg, "AudioPlane", Plane)
    layout = {1: "mono", 2: "stereo", 8: "7.1"}[channels]
    frame = av.AudioFrame(format="fltp", layout=layout, samples=100)
    assert atst.sound.ffmpeg._values(frame).shape == (100, channels)
    assert asked == list(range(channels))


@pytest.mark.parametrize("channels", [3, 6, 8])
def test_each_of_many_channels(tmp_path, channels):
    """FLAC and, with the planes of its frames apart, WavPack."""
    sound = np.stack([sweep(16000, 1.0) * (n + 1) / channels for n in range(channels)], axis=1)
    soundfile.write(tmp_path / "a.flac", sound, 16000)
    with av.open(str(tmp_path / "a.mka"), "w") as new, av.open(str(tmp_path / "a.flac")) as old:
        stream = new.add_stream_from_template(old.streams.audio[0])
        for packet in old.demux(old.streams.audio[0]):
            if packet.dts is not None:
                packet.stream = stream
                new.mux(packet)
    for path in (tmp_path / "a.flac", tmp_path / "a.mka"):
        for number in range(channels):
            np.testing.assert_allclose(audio.read(path, channel=number), sound[:, number], atol=1e-4)
        np.testing.assert_allclose(audio.read(path), sound.mean(axis=1), atol=1e-4)
        with pytest.raises(AudioError, match=f"no channel {channels}, it has {channels}"):
            audio.read(path, channel=channels)


def test_decoders_write_nothing_to_stderr(tmp_path, capfd):
    mp3 = write(tmp_path / "a.mp3", KINDS["mp3-libmp3lame"], 44100, sweep(44100, 4.0)).read_bytes()
    for name in ("a.wav", "a.dat", "a.flac"):
        path = tmp_path / name
        path.write_bytes(mp3[: len(mp3) // 2] + bytes(500) + mp3[len(mp3) // 2 + 500 :])
        audio.read(path, partial=True)
        audio.read(path, 1.0, 0.5, partial=True)
    inside = write(tmp_path / "b.wav", KINDS["wav-libmp3lame"], 44100, sweep(44100, 4.0))
    assert len(audio.read(inside)) >= 4 * SAMPLE_RATE
    junk = tmp_path / "c.mp4"
    junk.write_bytes(np.random.default_rng(0).bytes(10000))
    with pytest.raises(AudioError):
        audio.read(junk)
    assert capfd.readouterr() == ("", "")


def test_no_file_stays_open(tmp_path):
    good = write(tmp_path / "a.ogg", KINDS["OGG-VORBIS"], 16000, sweep(16000, 1.0))
    bad = tmp_path / "b.wav"
    bad.write_bytes(b"no sound at all" * 100)
    before = len(list(Path("/dev/fd").iterdir()))
    for _ in range(20):
        audio.read(good)
        next(audio.stream(good, 0.1)), audio.info(good)
        with pytest.raises(AudioError):
            audio.read(bad)
    assert len(list(Path("/dev/fd").iterdir())) == before


@pytest.mark.parametrize("name", ["dsf", "dff"])
def test_dsd(tmp_path, name):
    """One bit a sample at 2.8 MHz, as a simple sigma-delta modulator makes it."""
    rate, seconds = 2822400, 0.5
    time = np.arange(int(rate * seconds)) / rate
    wave = 0.4 * np.sin(2 * np.pi * 440 * time)
    bits = np.diff(np.floor(np.cumsum((wave + 1) / 2)), prepend=0).astype(np.uint8)
    path = {"dsf": dsf, "dff": dff}[name](tmp_path / f"a.{name}", bits, rate)
    got = audio.read(path)
    assert len(got) == pytest.approx(seconds * SAMPLE_RATE, abs=30)
    tone = np.sin(2 * np.pi * 440 * np.arange(len(got)) / SAMPLE_RATE)
    quadrature = np.cos(2 * np.pi * 440 * np.arange(len(got)) / SAMPLE_RATE)
    assert np.hypot(got @ tone, got @ quadrature) * 2 / len(got) == pytest.approx(0.4, rel=0.1)
    np.testing.assert_allclose(audio.read(path, 0.2, 0.1), got[3200:4800], atol=1e-4)


def dsf(path: Path, bits: np.ndarray, rate: int) -> Path:
    content = np.packbits(bits, bitorder="little").tobytes()
    content += bytes(-len(content) % 4096)
    form = struct.pack("<IIIIIIQII", 1, 0, 1, 1, rate, 1, len(bits), 4096, 0)
    chunks = b"fmt " + struct.pack("<Q", 52) + form + b"data" + struct.pack("<Q", 12 + len(content)) + content
    path.write_bytes(b"DSD " + struct.pack("<QQQ", 28, 28 + len(chunks), 0) + chunks)
    return path


def dff(path: Path, bits: np.ndarray, rate: int) -> Path:
    def chunk(name: bytes, content: bytes) -> bytes:
        return name + struct.pack(">Q", len(content)) + content

    properties = b"SND " + chunk(b"FS  ", struct.pack(">I", rate))
    properties += chunk(b"CHNL", struct.pack(">H", 1) + b"C   ") + chunk(b"CMPR", b"DSD \0\0")
    body = b"DSD " + chunk(b"FVER", b"\1\5\0\0") + chunk(b"PROP", properties)
    body += chunk(b"DSD ", np.packbits(bits).tobytes())
    path.write_bytes(chunk(b"FRM8", body))
    return path


@pytest.mark.parametrize(
    "name", ["gsm-gsm", "NIST-PCM_16", "mp2-mp2", "VOC-PCM_16", "3g2-aac", "AIFF-GSM610"]
)
def test_endings_that_are_read_when_named(tmp_path, name):
    kind = KINDS[name]
    rate = kind.rates[0]
    path = write(tmp_path / f"a.{kind.ending}", kind, rate, sweep(rate, 3.0))
    assert len(audio.read(path)) == pytest.approx(3 * SAMPLE_RATE, abs=0.1 * SAMPLE_RATE)
