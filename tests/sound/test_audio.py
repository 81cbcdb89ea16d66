import functools
import os
import struct
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from atst.errors import AudioError
from atst.sound import audio
from atst.sound.audio import SAMPLE_RATE

SECONDS = 8.0
# name: (rate in Hz, channels, soundfile subtype or av codec)
SNDFILE = {
    "pcm16.wav": (44100, 2, "PCM_16"),
    "pcm8.wav": (8000, 1, "PCM_U8"),
    "pcm24.wav": (192000, 1, "PCM_24"),
    "float.wav": (22050, 5, "FLOAT"),
    "odd.wav": (44101, 1, "PCM_16"),
    "a.flac": (48000, 1, "PCM_16"),
    "16k.flac": (16000, 1, "PCM_16"),
    "a.ogg": (44100, 2, "VORBIS"),
    "a.opus": (48000, 2, "OPUS"),
    "16k.opus": (16000, 1, "OPUS"),
    "a.mp3": (44100, 2, "MPEG_LAYER_III"),
    "8k.mp3": (8000, 1, "MPEG_LAYER_III"),
}
FFMPEG = {
    "a.m4a": (44100, 1, "aac"),
    "a.mp4": (22050, 1, "aac"),
    "a.aac": (32000, 1, "aac"),
    "a.webm": (48000, 1, "libopus"),
    "a.mkv": (16000, 1, "pcm_s16le"),
}
FILES = SNDFILE | FFMPEG


def sound(rate: int, seconds: float = SECONDS) -> np.ndarray:
    """A sweep with a click at every second, (N,)."""
    time = np.arange(round(rate * seconds)) / rate
    sweep = 0.3 * np.sin(2 * np.pi * (150 * time + 100 * time**2))
    return (sweep + 0.5 * np.exp(-((time % 1 - 0.5) ** 2) * 1e6)).astype(np.float32)


def write(path: Path, rate: int, channels: int, subtype: str, samples: np.ndarray | None = None) -> Path:
    mono = sound(rate) if samples is None else samples
    if subtype in ("aac", "libopus", "pcm_s16le"):
        with av.open(str(path), "w", format="adts" if path.suffix == ".aac" else None) as container:
            stream = container.add_stream(subtype, rate=rate, layout="mono")
            if subtype == "aac":
                stream.options = {"aac_pns": "0"}  # noise substitution is random in the decoder
            values, layout = (
                (mono, "fltp") if subtype != "pcm_s16le" else ((mono * 32767).astype(np.int16), "s16")
            )
            for begin in range(0, len(values), 960):
                part = np.ascontiguousarray(values[None, begin : begin + 960])
                frame = av.AudioFrame.from_ndarray(part, layout, "mono")
                frame.sample_rate, frame.pts = rate, begin
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    else:
        container_name = {".ogg": "OGG", ".opus": "OGG"}.get(path.suffix)
        many = np.stack([mono] * channels, axis=1)
        with soundfile.SoundFile(path, "w", rate, channels, subtype, format=container_name) as file:
            for begin in range(0, len(many), rate):  # libsndfile crashes when given much Vorbis at once
                file.write(many[begin : begin + rate])
    return path


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("audio")
    return {name: write(folder / name, *how) for name, how in FILES.items()}


@functools.cache
def whole(path: Path) -> np.ndarray:
    return audio.read(path)


@pytest.mark.parametrize("name", FILES)
def test_every_format_gives_the_sound(files, name):
    found = audio.info(files[name])
    assert (found.sample_rate, found.channels) == FILES[name][:2]
    # webm: milliseconds and codec delay; raw aac knows nothing of its encoder's padding
    assert found.seconds == pytest.approx(SECONDS, abs=0.07 if name == "a.aac" else 0.02)
    got, want = whole(files[name]), sound(SAMPLE_RATE)
    assert got.dtype == np.float32
    assert len(got) == pytest.approx(len(want), abs=0.07 * SAMPLE_RATE if name == "a.aac" else 1)
    lag = int(np.argmax(np.correlate(got[:20000], want[4000:12000]))) - 4000
    assert abs(lag) <= (1024 if name == "a.aac" else 1), "the sound starts late"
    if name != "a.aac":
        middle = slice(4000, -4000)
        error = np.std(got[: len(want)][middle] - want[: len(got)][middle]) / np.std(want)
        assert error < (0.3 if FILES[name][2] in ("OPUS", "libopus") else 0.12)


@pytest.mark.parametrize("name", FILES)
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(start=st.floats(0, 7.9), duration=st.floats(0.0001, 9))
def test_a_stretch_equals_the_span_of_the_whole(files, name, start, duration):
    got = audio.read(files[name], start, duration)
    span = whole(files[name])[round(start * SAMPLE_RATE) : round((start + duration) * SAMPLE_RATE)]
    if len(span):  # else shorter than a sample
        np.testing.assert_allclose(got, span, atol=1e-5)
    else:
        assert len(got) == 1


def test_sixteen_kilohertz_mono_comes_as_stored(tmp_path):
    samples = np.random.default_rng(0).uniform(-1, 1, 30000).astype(np.float32)
    path = write(tmp_path / "exact.wav", SAMPLE_RATE, 1, "FLOAT", samples)
    np.testing.assert_array_equal(audio.read(path), samples)
    np.testing.assert_array_equal(audio.read(path, 0.5, 0.25), samples[8000:12000])
    np.testing.assert_array_equal(audio.to_mono_16k(samples, SAMPLE_RATE), samples)


def test_arrays_of_any_kind():
    want = sound(SAMPLE_RATE)
    np.testing.assert_allclose(audio.to_mono_16k(np.stack([want, -want], 1), 16000), 0 * want)
    np.testing.assert_allclose(audio.to_mono_16k((want * 32768).astype(np.int16), 16000), want, atol=1e-4)
    np.testing.assert_allclose(audio.to_mono_16k(sound(48000), 48000)[100:-100], want[100:-100], atol=0.05)
    for bad in (np.zeros(0), np.zeros((2, 2, 2)), np.array([0.0, np.nan])):
        with pytest.raises(AudioError):
            audio.to_mono_16k(bad, 16000)
    with pytest.raises(AudioError, match="sample rate 1 Hz"):
        audio.to_mono_16k(want, 1)


def fails(path: Path, reason: str, **stretch: float) -> None:
    with pytest.raises(AudioError, match=reason) as caught:
        audio.read(path, **stretch)
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert "\n" not in text


@pytest.mark.parametrize("name", ["pcm16.wav", "a.flac", "a.ogg", "a.opus", "a.mp3", "a.webm", "a.mkv"])
def test_truncated(files, tmp_path, capfd, name):
    content = files[name].read_bytes()
    path = tmp_path / name
    path.write_bytes(content[: len(content) * 6 // 10])
    fails(path, "truncated")
    if name not in ("a.ogg", "a.opus"):  # only their end shows it
        fails(path, "truncated", start=7.0, duration=0.5)
    if name != "a.flac":
        assert len(audio.read(path, 1.0, 1.0)) == SAMPLE_RATE
    assert capfd.readouterr() == ("", "")


def test_a_streamed_wav_of_unknown_length_is_not_truncated(files, tmp_path):
    content = bytearray(files["pcm16.wav"].read_bytes())
    at = content.find(b"data") + 4
    content[4:8] = content[at : at + 4] = b"\xff" * 4
    path = tmp_path / "streamed.wav"
    path.write_bytes(content)
    np.testing.assert_array_equal(audio.read(path), whole(files["pcm16.wav"]))


def test_what_is_not_usable_audio(files, tmp_path):
    fails(tmp_path / "missing.wav", "no such file")
    fails(tmp_path, "is a folder")
    (tmp_path / "empty.wav").touch()
    fails(tmp_path / "empty.wav", "empty file")
    (tmp_path / "text.mp3").write_text("not a sound\n" * 1000)
    fails(tmp_path / "text.mp3", "not audio")
    (tmp_path / "noise.ogg").write_bytes(np.random.default_rng(0).bytes(50000))
    fails(tmp_path / "noise.ogg", "not audio")
    (tmp_path / "cut.m4a").write_bytes(files["a.m4a"].read_bytes()[:20000])
    fails(tmp_path / "cut.m4a", "the index of its frames is missing")
    fails(write(tmp_path / "none.wav", 16000, 1, "PCM_16", np.zeros(0, np.float32)), "no samples")
    samples = sound(16000)
    samples[5000] = np.nan
    fails(write(tmp_path / "nan.wav", 16000, 1, "FLOAT", samples), "non-finite")
    fails(files["a.flac"], "beyond its end, 8 s", start=8.0)
    fails(files["a.flac"], "start must", start=-1.0)
    fails(files["a.flac"], "duration must", duration=0.0)


def test_a_film_without_sound(tmp_path):
    path = tmp_path / "silent.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=5)
        stream.width = stream.height = 32
        for _ in range(3):
            container.mux(stream.encode(av.VideoFrame(32, 32, "yuv420p")))
        container.mux(stream.encode(None))
    fails(path, "no sound track")


def test_a_playlist_opens_no_other_file(files, tmp_path):
    for name, text in {
        "list.m3u8": f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfile://{files['a.aac']}\n#EXT-X-ENDLIST\n",
        "list.ffconcat": f"ffconcat version 1.0\nfile {files['a.m4a']}\n",
    }.items():
        (tmp_path / name).write_text(text)
        fails(tmp_path / name, "not audio")


def test_a_header_that_lies_allocates_nothing(tmp_path):
    content = bytearray(write(tmp_path / "a.flac", 16000, 1, "PCM_16").read_bytes())
    (bits,) = struct.unpack(">Q", content[18:26])  # rate, channels, depth, 36 bits of length
    content[18:26] = struct.pack(">Q", bits | (1 << 36) - 1)
    (tmp_path / "a.flac").write_bytes(content)
    assert len(audio.read(tmp_path / "a.flac")) == SECONDS * 16000
    wav = bytearray(write(tmp_path / "slow.wav", 16000, 1, "PCM_16").read_bytes())
    wav[24:28] = struct.pack("<I", 1)
    (tmp_path / "slow.wav").write_bytes(wav)
    fails(tmp_path / "slow.wav", "sample rate 1 Hz")


def test_a_name_without_or_with_a_wrong_ending(files, tmp_path):
    for name, other in {
        "a.mp3": "a.wav",
        "a.m4a": "thing",
        "a.webm": "a.mp3",
        "16k.opus": "a:b?.mp3",
    }.items():
        path = tmp_path / other
        path.write_bytes(files[name].read_bytes())
        np.testing.assert_allclose(audio.read(path, 1, 1), audio.read(files[name], 1, 1), atol=1e-3)


def test_a_name_that_is_not_utf8(files, tmp_path):
    for kind in ("pcm16.wav", "a.mp3", "a.m4a"):
        strange = tmp_path / os.fsdecode(b"caf\xe9 " + kind.encode())
        try:
            strange.write_bytes(files[kind].read_bytes())
        except OSError:
            pytest.skip("this file system takes only names in UTF-8")
        assert audio.info(strange) == audio.info(files[kind])
        np.testing.assert_array_equal(audio.read(strange, 1.0, 0.5), audio.read(files[kind], 1.0, 0.5))
        strange.write_bytes(b"broken")
        with pytest.raises(AudioError, match="not audio"):
            audio.read(strange)


def test_real_recordings(shared_data):
    for path in sorted((shared_data / "tasks" / "esc10").rglob("*.ogg"))[:10]:
        everything = audio.read(path)
        np.testing.assert_allclose(audio.read(path, 1.234, 0.5), everything[19744:27744], atol=1e-4)


def test_windows_of_one_pass_are_the_whole_file(files):
    for name in ("pcm16.wav", "a.mp3", "a.webm"):
        windows = list(audio.stream(files[name], 1.5))
        assert [len(window) for window in windows[:-1]] == [24000] * (len(windows) - 1)
        np.testing.assert_array_equal(np.concatenate(windows), whole(files[name]))


def test_one_channel_or_their_mean(tmp_path):
    left, right = sound(16000), -0.5 * sound(16000)
    path = tmp_path / "two.wav"
    soundfile.write(path, np.stack([left, right], 1), 16000, subtype="FLOAT")
    np.testing.assert_array_equal(audio.read(path, channel=0), left)
    np.testing.assert_array_equal(audio.read(path, channel=1), right)
    np.testing.assert_allclose(audio.read(path), (left + right) / 2, atol=1e-7)
    with pytest.raises(AudioError, match="no channel 2, it has 2"):
        audio.read(path, channel=2)
    with pytest.raises(AudioError, match="no channel -1"):
        audio.read(path, channel=-1)


def test_what_there_is_of_a_recording_that_was_cut_short(files, tmp_path):
    content = files["pcm16.wav"].read_bytes()
    path = tmp_path / "cut.wav"
    path.write_bytes(content[: 44 + 44100 * 4 * 3])
    fails(path, "truncated, its samples end at 3.00 s")
    remarks: list[str] = []
    got = audio.read(path, partial=True, remarks=remarks)
    np.testing.assert_allclose(got[:-200], whole(files["pcm16.wav"])[: 48000 - 200], atol=1e-5)
    assert len(got) == 48000
    assert remarks == ["truncated, its samples end at 3.00 s"]
