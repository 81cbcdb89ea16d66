"""What is whole is read whole, what was cut or damaged is named, and read as far as it goes on demand."""

import struct
from pathlib import Path

import boxes
import numpy as np
import pytest
import soundfile
from kinds import KINDS, sweep, write

from atst.errors import AudioError
from atst.sound import audio, mpeg, ogg
from atst.sound.audio import SAMPLE_RATE

SECONDS = 12.0


def made(folder: Path, name: str, rate: int, seconds: float = SECONDS) -> Path:
    kind = KINDS[name]
    return write(folder / f"{name}.{kind.ending}", kind, rate, sweep(rate, seconds))


def changed(path: Path, content: bytes) -> Path:
    other = path.with_stem("changed")
    other.write_bytes(content)
    return other


def whole(path: Path) -> np.ndarray:
    """Read without a complaint, even with `partial`."""
    remarks: list[str] = []
    waveform = audio.read(path, partial=True, remarks=remarks)
    assert remarks == []
    np.testing.assert_array_equal(audio.read(path), waveform)
    return waveform


def partly(path: Path, remark: str) -> np.ndarray:
    """Read as far as it goes with `partial`, and refused without it."""
    for refused in (audio.read, lambda path: list(audio.stream(path, 1.0))):
        with pytest.raises(AudioError, match=remark):
            refused(path)
    remarks: list[str] = []
    waveform = audio.read(path, partial=True, remarks=remarks)
    assert len(remarks) == 1
    np.testing.assert_array_equal(np.concatenate(list(audio.stream(path, 1.0, partial=True))), waveform)
    return waveform


@pytest.fixture(scope="module")
def mp3(tmp_path_factory) -> Path:
    return made(tmp_path_factory.mktemp("mp3"), "mp3-libmp3lame", 44100)


TAGS = b"TAG" + bytes(125), b"ID3\4\0\0\0\0\0\12" + b"y" * 10
LYRICS = b"LYRICSBEGIN" + b"x" * 3000 + b"000009LYRICS200"


@pytest.mark.parametrize("rest", [b"\0", b"\r\n", LYRICS, *TAGS, bytes(100_000)])
def test_an_mp3_with_something_after_its_last_frame_is_whole(mp3, rest):
    got, expected = whole(changed(mp3, mp3.read_bytes() + rest)), audio.read(mp3)
    np.testing.assert_allclose(got[: len(expected) - 100], expected[:-100], atol=1e-6)
    # beside much else in the file, its own count of samples is not believed, and the encoder's padding stays
    assert 0 <= len(got) - len(expected) < 1200


def test_two_mp3_files_joined(mp3):
    for between in (b"", b"".join(TAGS)):
        path = changed(mp3, mp3.read_bytes() + between + mp3.read_bytes())
        got = whole(path)
        assert len(got) == pytest.approx(24 * SAMPLE_RATE, abs=0.1 * SAMPLE_RATE)
        np.testing.assert_allclose(
            audio.read(path, 20, 1), got[20 * SAMPLE_RATE : 21 * SAMPLE_RATE], atol=1e-4
        )


def test_a_damaged_mp3_frame_is_silence_of_its_length(mp3):
    frames = mpeg.frames(str(mp3))
    content = bytearray(mp3.read_bytes())
    content[frames.offsets[200] : frames.offsets[201]] = bytes(frames.offsets[201] - frames.offsets[200])
    got = partly(changed(mp3, content), "1 of 460 frames is damaged, at 5.20 s")
    after = slice(8 * SAMPLE_RATE, 11 * SAMPLE_RATE)
    np.testing.assert_allclose(got[after], audio.read(mp3)[after], atol=1e-4)


def test_the_last_frame_of_an_mp3_may_be_cut(mp3):
    got = whole(changed(mp3, mp3.read_bytes()[:-100]))
    assert len(got) >= (SECONDS - 0.06) * SAMPLE_RATE


def test_half_an_mp3_is_truncated(mp3):
    content = mp3.read_bytes()
    got = partly(changed(mp3, content[: len(content) // 2]), "truncated, its samples end at 5.98 s")
    np.testing.assert_allclose(got[:-500], audio.read(mp3)[: len(got) - 500], atol=1e-4)


def test_an_mp3_that_is_nearly_all_padding(tmp_path):
    for seconds in (0.001, 0.01):
        path = made(tmp_path, "mp3-libmp3lame", 44100, seconds)
        assert 0 <= audio.info(path).seconds < 0.06
        assert len(whole(path)) == pytest.approx(seconds * SAMPLE_RATE, abs=1)


@pytest.mark.parametrize(
    ("name", "rate"),
    [
        ("wav-libmp3lame", 8000),
        ("adts-aac", 8000),
        ("mp4-aac", 8000),
        ("mp4-aac-copied", 44100),
        ("caf-alac", 8000),
        ("CAF-ALAC_16", 8000),
        ("asf-wmav2", 8000),
        ("asf-wmav2", 44100),
        ("webm-libopus", 48000),
        ("wav-adpcm_ms", 8000),
        ("amr-libopencore_amrnb", 8000),
        ("webm-libopus-gaps", 48000),
        *((name, 44100) for name, kind in KINDS.items() if kind.change in boxes.WRITERS),
    ],
)
def test_a_whole_file_is_never_truncated(tmp_path, name, rate):
    for seconds in (0.3, 1.0, 12.0):
        got = whole(made(tmp_path, name, rate, seconds))
        # what an encoder adds, or keeps back: two of its longest frames
        assert len(got) / SAMPLE_RATE == pytest.approx(seconds, abs=2 * 4096 / rate + 0.01)


@pytest.mark.parametrize("writer", boxes.WRITERS)
def test_mp4_of_other_writers_is_read_exactly(tmp_path, writer):
    """As FFmpeg's own file, but for what is left out at the start."""
    path = made(tmp_path, "mp4-aac", SAMPLE_RATE, 4.0)
    expected, got = audio.read(path), whole(changed(path, writer(path.read_bytes())))
    start = {boxes.long_start: 2112 - 1024, boxes.no_start: -1024}.get(writer, 0)
    assert len(expected) - start <= len(got) < len(expected) - start + 1024
    same = slice(2048 - start, len(expected) - start)
    np.testing.assert_allclose(got[same], expected[2048:], atol=1e-5)


@pytest.mark.parametrize("name", ["OGG-VORBIS", "OGG-OPUS", "ogg-flac"])
def test_a_damaged_page_of_ogg_is_silence_of_its_length(tmp_path, name):
    path = made(tmp_path, name, 48000)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 100] = bytes(100)
    damaged = changed(path, content)
    got = partly(damaged, r"1 of \d+ pages is damaged|\d+ of \d+ frames are damaged")
    assert len(got) == pytest.approx(SECONDS * SAMPLE_RATE, abs=1)
    np.testing.assert_allclose(got[-8000:-100], audio.read(path)[-8000:-100], atol=0.02)


def test_a_damaged_flac_frame_is_silence_of_its_length(tmp_path):
    path = made(tmp_path, "FLAC-PCM_16", 44100)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 100] = bytes(100)
    got = partly(changed(path, content), r"\d of \d+ frames (is|are) damaged")
    assert len(got) == SECONDS * SAMPLE_RATE
    np.testing.assert_allclose(got[-32000:], audio.read(path)[-32000:], atol=1e-4)


def frame_47(content: bytes) -> tuple[int, int]:
    """Where a frame of a FLAC file begins and ends that starts at sample 47 x 4096, 4.37 s."""
    begin = content.index(b"\xff\xf8" + content[content.index(b"\xff\xf8") + 2 :][:2] + b"\x2f")
    return begin, content.index(b"\xff\xf8" + content[begin + 2 : begin + 4] + b"\x30", begin)


@pytest.mark.parametrize("how", ["its header", "one byte", "its checksum", "missing", "two frames' halves"])
def test_a_stretch_of_a_damaged_flac_is_right_or_refused(tmp_path, how):
    path = made(tmp_path, "FLAC-PCM_16", 44100, 8.0)
    content, expected = bytearray(path.read_bytes()), audio.read(path)
    begin, end = frame_47(content)
    if how == "its header":
        content[begin : begin + 4] = bytes(4)
    elif how == "one byte":
        content[begin + 100] ^= 255
    elif how == "its checksum":
        content[end - 1] ^= 255
    elif how == "missing":
        del content[begin:end]
    else:
        del content[begin + 100 : end + 100]
    damaged = changed(path, content)
    got = partly(damaged, r"\d of \d+ frames (is|are) damaged")
    assert len(got) == len(expected)
    np.testing.assert_allclose(got[5 * SAMPLE_RATE :], expected[5 * SAMPLE_RATE :], atol=1e-4)
    refused = []
    for start in np.arange(0.2, 7.0, 0.4):
        span = slice(round(start * SAMPLE_RATE), round((start + 0.5) * SAMPLE_RATE))
        np.testing.assert_allclose(audio.read(damaged, start, 0.5, partial=True), got[span], atol=1e-4)
        try:
            strict = audio.read(damaged, start, 0.5)
        except AudioError:
            refused.append(start)
        else:
            np.testing.assert_allclose(strict, expected[span], atol=1e-4)
    assert 0 < len(refused) < 5
    assert all(3.5 < start < 4.8 for start in refused)


@pytest.mark.parametrize("number", [0, 2])
def test_a_flac_that_is_damaged_at_its_start(tmp_path, number):
    """FFmpeg gives the first frames in one packet, with the wrong stamp."""
    path = made(tmp_path, "FLAC-PCM_16", 44100, 4.0)
    content = bytearray(path.read_bytes())
    at = content.index(b"\xff\xf8")
    begin = content.index(content[at : at + 4] + bytes([number]), at)
    if number:
        content[begin + 100 : begin + 100] = b"x"
    else:
        content[begin : begin + 50] = bytes(50)
    got = partly(changed(path, content), "damaged")
    np.testing.assert_allclose(got[8000:], audio.read(path)[8000:], atol=1e-4)


def test_a_flac_without_its_last_frame(tmp_path):
    path = made(tmp_path, "FLAC-PCM_16", 44100, 4.0)
    content = path.read_bytes()
    last = content.rindex(content[content.index(b"\xff\xf8") :][:2])
    partly(changed(path, content[:last]), r"its samples end at 3\.\d+ s, not at 4\.00 s")
    partly(changed(path, content[: last + 50]), r"its samples end at 3\.\d+ s, not at 4\.00 s")


def test_flac_files_joined_end_to_end(tmp_path):
    one, two = made(tmp_path, "FLAC-PCM_16", 44100, 4.0), made(tmp_path / "..", "FLAC-PCM_24", 44100, 3.0)
    tag = b"ID3\4\0\0\0\0\0\12" + bytes(10)
    for parts in ((one, one), (one, two), (two, one, one)):
        expected = np.concatenate([audio.read(part) for part in parts])
        for between in (b"", tag):
            joined = changed(one, between.join(part.read_bytes() for part in parts))
            got = whole(joined)
            assert len(got) == len(expected)
            for end in np.cumsum([len(audio.read(part)) for part in parts]):
                np.testing.assert_allclose(
                    got[end - 9000 : end - 1000], expected[end - 9000 : end - 1000], atol=1e-4
                )
            for start in (0.5, 3.1, 3.8, 5.5):
                span = got[round(start * SAMPLE_RATE) : round((start + 0.5) * SAMPLE_RATE)]
                np.testing.assert_allclose(audio.read(joined, start, 0.5), span, atol=1e-4)
            assert audio.info(joined).seconds == len(got) / SAMPLE_RATE
    other = made(tmp_path, "flac-flac", 48000, 1.0)
    with pytest.raises(AudioError, match="its sample rate changes on the way"):
        audio.read(changed(one, one.read_bytes() + other.read_bytes()))


def test_flac_with_tags_around_it(tmp_path):
    path = made(tmp_path, "FLAC-PCM_16", 44100, 4.0)
    tagged = changed(path, TAGS[1] + path.read_bytes() + TAGS[0])
    np.testing.assert_allclose(whole(tagged), audio.read(path), atol=1e-4)
    np.testing.assert_allclose(audio.read(tagged, 3.0, 0.5), audio.read(path)[48000:56000], atol=1e-4)


@pytest.mark.parametrize("name", ["matroska-aac", "webm-libopus", "webm-vorbis"])
def test_what_a_damaged_cluster_takes_along_is_silence(tmp_path, name):
    path = made(tmp_path, name, 48000)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 300] = b"\xa5" * 300
    got = partly(changed(path, content), r"\d+ of \d+ frames are damaged")
    assert len(got) == pytest.approx(len(audio.read(path)), abs=0.01 * SAMPLE_RATE)


def test_a_chained_ogg_is_read_to_its_end(tmp_path):
    for name in ("OGG-VORBIS", "OGG-OPUS", "ogg-flac"):
        first, second = made(tmp_path, name, 48000, 4.0), made(tmp_path / "..", name, 48000, 3.0)
        path = changed(first, first.read_bytes() + second.read_bytes())
        got = whole(path)
        np.testing.assert_allclose(got[-1000:], audio.read(second)[-1000:], atol=1e-6)
        assert len(got) == 7 * SAMPLE_RATE
        np.testing.assert_allclose(audio.read(path, 3.9, 0.5), got[62400:70400], atol=1e-4)
        np.testing.assert_allclose(audio.read(path, 6.5, 0.5), got[104000:], atol=1e-4)


def test_an_ogg_that_begins_before_its_time_zero(tmp_path):
    path = made(tmp_path, "OGG-VORBIS", 44100)
    content, at = bytearray(path.read_bytes()), 0
    while (at := content.find(b"OggS", at)) >= 0:
        end = at + 27 + content[at + 26] + sum(content[at + 27 : at + 27 + content[at + 26]])
        (granule,) = struct.unpack_from("<q", content, at + 6)
        if granule > 0:
            struct.pack_into("<q", content, at + 6, granule - 4 * 44100)
        struct.pack_into("<I", content, at + 22, ogg.checksum(bytes(content[at:end])))
        at = end
    got = whole(changed(path, content))
    np.testing.assert_allclose(got[1000:-1000], audio.read(path)[1000:-1000], atol=1e-4)
    assert len(got) == SECONDS * SAMPLE_RATE


def test_a_flac_with_a_wrong_seek_table(tmp_path):
    path = made(tmp_path, "FLAC-PCM_16", 44100)
    content = bytearray(path.read_bytes())
    table = b"".join(struct.pack(">QQH", 20000 * n, 7, 4096) for n in range(20))
    block = bytes([3]) + len(table).to_bytes(3, "big") + table
    wrong = changed(path, content[:42] + block + content[42:])
    expected = audio.read(path)
    np.testing.assert_array_equal(audio.read(wrong), expected)
    np.testing.assert_allclose(audio.read(wrong, 9.5, 1.0), expected[152000:168000], atol=1e-4)


@pytest.mark.parametrize("total", [0, 1 << 36 - 1], ids=["none", "too many"])
def test_a_flac_that_does_not_know_its_length(tmp_path, total):
    path = made(tmp_path, "FLAC-PCM_16", 44100)
    content = bytearray(path.read_bytes())
    (bits,) = struct.unpack(">Q", content[18:26])
    content[18:26] = struct.pack(">Q", bits >> 36 << 36 | min(total, (1 << 36) - 1))
    np.testing.assert_allclose(whole(changed(path, content)), audio.read(path), atol=1e-4)


def test_pcm_of_64_bits(tmp_path):
    samples = sweep(16000, 1.0)
    path = tmp_path / "long.wav"
    values = (samples.astype(np.float64) * 2**62).astype("<i8").tobytes()
    form = struct.pack("<HHIIHH", 1, 1, 16000, 128000, 8, 64)
    chunks = b"fmt " + struct.pack("<I", 16) + form + b"data" + struct.pack("<I", len(values)) + values
    path.write_bytes(b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks)
    np.testing.assert_allclose(audio.read(path), samples / 2, atol=1e-6)


def test_a_header_of_no_channels(tmp_path):
    path = tmp_path / "none.wav"
    soundfile.write(path, sweep(44100, 1.0), 44100)
    content = bytearray(path.read_bytes())
    content[22:24] = bytes(2)
    path.write_bytes(content)
    with pytest.raises(AudioError) as caught:
        audio.read(path)
    assert "44100" not in str(caught.value)
    assert "channel" in str(caught.value)


def test_a_flac_whose_bit_depth_changes(tmp_path):
    both = []
    for depth in ("PCM_16", "PCM_24"):
        path = made(tmp_path, f"FLAC-{depth}", 44100, 2.0)
        both.append(path.read_bytes())
    frames = both[1].index(b"\xff\xf8")
    content = bytearray(both[0] + both[1][frames:])
    (bits,) = struct.unpack(">Q", content[18:26])
    content[18:26] = struct.pack(">Q", bits >> 36 << 36 | 4 * 44100)
    path = tmp_path / "depth.flac"
    path.write_bytes(content)
    assert len(audio.read(path)) == 4 * SAMPLE_RATE


def test_films_without_an_index(tmp_path):
    """Stretches of them were refused: they cannot be sought."""
    path = made(tmp_path, "avi-libmp3lame", 44100)
    content = path.read_bytes()
    expected = audio.read(path)
    index = content.rindex(b"idx1")
    without = changed(path, content[: index + 4] + bytes(4))
    np.testing.assert_allclose(audio.read(without)[: len(expected)], expected, atol=1e-4)
    np.testing.assert_allclose(audio.read(without, 9.5, 1.0), expected[152000:168000], atol=1e-4)
    path = made(tmp_path, "webm-libopus", 48000)
    content = bytearray(path.read_bytes())
    cues = content.rindex(b"\x1c\x53\xbb\x6b")
    content[cues : cues + 4] = b"\xec\xec\xec\xec"
    expected = audio.read(path)
    without = changed(path, content)
    np.testing.assert_allclose(audio.read(without, 9.5, 1.0), expected[152000:168000], atol=1e-4)


def test_a_stretch_of_an_mp3_with_a_large_tag_at_its_end(mp3):
    """A constant bit rate and the size of the file do not tell a frame's number."""
    tagged = changed(mp3, mp3.read_bytes() + b"APETAGEX" + bytes(range(1, 251)) * 400)
    expected = audio.read(tagged)
    for start in (1.5, 6.0, 11.0):
        begin = round(start * SAMPLE_RATE)
        np.testing.assert_allclose(audio.read(tagged, start, 0.5), expected[begin : begin + 8000], atol=1e-4)


@pytest.mark.parametrize("rest", [0, 37, 200])
@pytest.mark.parametrize(
    "name", ["adts-aac", "ac3-ac3", "amr-libopencore_amrnb", "mp2-mp2", "latm-aac", "gsm-gsm"]
)
def test_half_a_file_without_a_length_is_a_whole_one(tmp_path, name, rest):
    """Also where it ends inside a frame, as what a recorder leaves that is stopped."""
    path = made(tmp_path, name, KINDS[name].rates[-1])
    content = path.read_bytes()
    got = whole(changed(path, content[: len(content) // 2 + rest]))
    assert 5.9 * SAMPLE_RATE < len(got) < 6.4 * SAMPLE_RATE
    np.testing.assert_allclose(got[: 5 * SAMPLE_RATE], audio.read(path)[: 5 * SAMPLE_RATE], atol=1e-4)


@pytest.mark.parametrize("name", ["avi-libmp3lame", "webm-libopus", "asf-wmav2", "tta-tta", "wv-wavpack"])
def test_half_a_file_of_other_containers_is_truncated(tmp_path, name):
    path = made(tmp_path, name, 48000)
    content = path.read_bytes()
    got = partly(changed(path, content[: len(content) // 2]), "truncated")
    assert 4 * SAMPLE_RATE < len(got) < 8 * SAMPLE_RATE


def test_mp4_that_was_cut(tmp_path):
    """With its index at the end nothing can be read; with the index in front, what there is."""
    path = made(tmp_path, "mp4-aac", 48000)
    content = path.read_bytes()
    with pytest.raises(AudioError, match="the index of its frames is missing"):
        audio.read(changed(path, content[: len(content) // 2]))
    moov, mdat = content.rindex(b"moov") - 4, content.index(b"mdat") - 4
    index = content[moov:]
    offsets = index.index(b"stco") + 8
    (count,) = struct.unpack(">I", index[offsets : offsets + 4])
    moved = [n + len(index) for n in struct.unpack_from(f">{count}I", index, offsets + 4)]
    index = index[: offsets + 4] + struct.pack(f">{count}I", *moved) + index[offsets + 4 + 4 * count :]
    front = content[:mdat] + index + content[mdat:moov]
    np.testing.assert_allclose(whole(changed(path, front)), audio.read(path), atol=1e-4)
    partly(changed(path, front[: len(front) // 2]), "truncated, its samples end at")
