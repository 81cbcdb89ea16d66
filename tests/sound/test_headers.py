"""Sizes in headers: true, a little wrong, placeholders, and of files that were cut short."""

import os
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile
from kinds import KINDS, sweep, write

from atst.errors import AudioError
from atst.sound import audio, isolated
from atst.sound.audio import SAMPLE_RATE

SECONDS = 20.0
RATE = 16000
LIST = b"LIST" + struct.pack("<I", 26) + b"INFOISFT" + struct.pack("<I", 14) + b"a recorder 01\0"
PLACEHOLDERS = [0xFFFFFFFF, 0x7FFFF000, 0x7FFFFFDB, 0x80000000, 0x7FFFFFFF, 0xFFFFFFDB]


@pytest.fixture(scope="module")
def wav(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("wav") / "a.wav"
    soundfile.write(path, sweep(RATE, SECONDS), RATE, "PCM_16")
    return path


def resized(path: Path, size: int, rest: bytes = b"", samples: slice = slice(None)) -> Path:
    """The same file with another size of its data chunk, and other bytes behind it."""
    content = path.read_bytes()
    at = content.index(b"data") + 8
    other = path.with_stem("resized")
    other.write_bytes(content[: at - 4] + struct.pack("<I", size) + content[at:][samples] + rest)
    return other


def remarks_of(path: Path) -> list[str]:
    remarks: list[str] = []
    audio.read(path, remarks=remarks)
    return remarks


@pytest.mark.parametrize(
    "rest", [b"", LIST, LIST + b"id3 \4\0\0\0abcd"], ids=["nothing", "LIST", "LIST, id3"]
)
@pytest.mark.parametrize("size", [*PLACEHOLDERS, 0], ids=hex)
def test_a_size_that_cannot_be_meant_is_to_the_end_of_the_file(wav, size, rest):
    path = resized(wav, size, rest)
    np.testing.assert_array_equal(audio.read(path), audio.read(wav))
    np.testing.assert_array_equal(audio.read(path, 19.5, 2.0), audio.read(wav, 19.5))
    assert remarks_of(path) == []
    assert audio.info(path).seconds == pytest.approx(SECONDS)


def test_the_true_size(wav):
    np.testing.assert_array_equal(audio.read(resized(wav, 640000, LIST)), audio.read(wav))


@pytest.mark.parametrize("rest", [b"", LIST], ids=["nothing", "a chunk"])
def test_no_samples_stay_none(wav, rest):
    with pytest.raises(AudioError, match="no samples"):
        audio.read(resized(wav, 0, rest, slice(0)))


@pytest.mark.parametrize("more", [1, 44, 1000])
def test_a_size_that_is_a_little_too_large(wav, more):
    np.testing.assert_array_equal(audio.read(resized(wav, 640000 + more)), audio.read(wav))


def test_the_last_byte_may_be_missing(wav):
    got = audio.read(resized(wav, 640000, samples=slice(-1)))
    np.testing.assert_array_equal(got, audio.read(wav)[:-1])


def test_what_was_really_cut(wav):
    path = resized(wav, 640000, samples=slice(320000))
    with pytest.raises(AudioError, match=r"truncated, its samples end at 10.00 s"):
        audio.read(path)
    remarks: list[str] = []
    got = audio.read(path, partial=True, remarks=remarks)
    np.testing.assert_array_equal(got, audio.read(wav)[: 10 * SAMPLE_RATE])
    assert remarks == ["truncated, its samples end at 10.00 s"]


def test_zeros_of_a_preallocated_file_are_left_out(wav):
    expected = audio.read(wav)
    path = resized(wav, 0x7FFFF000, bytes(3 * 32000))
    np.testing.assert_array_equal(audio.read(path), expected)
    assert remarks_of(path) == ["3.00 s of zeros at its end left out"]
    for size, zeros in ((640000 + 3 * 32000, 3 * 32000), (0x7FFFF000, 16000)):  # a size that is true; too few
        path = resized(wav, size, bytes(zeros))
        assert len(audio.read(path)) == len(expected) + zeros // 2
        assert remarks_of(path) == []


@pytest.mark.parametrize(
    ("name", "where", "form", "values"),
    [
        ("AIFF-PCM_16", b"SSND", ">I", (0xFFFFFFFF, 0, 0x7FFFFFFF)),
        ("CAF-PCM_16", b"data", ">q", (-1, 0)),
        (
            "W64-PCM_16",
            b"data\xf3\xac\xd3\x11\x8c\xd1\0\xc0\x4f\x8e\xdb\x8a",
            "<q",
            (-1, 0x7FFFFFFFFFFFFFFF, 24),
        ),
        ("RF64-PCM_16", b"data", "<I", (0xFFFFFFFF,)),
    ],
)
def test_placeholders_of_other_containers(tmp_path, name, where, form, values):
    path = write(tmp_path / "a", KINDS[name], RATE, sweep(RATE, 3.0))
    content = path.read_bytes()
    at = content.index(where) + len(where)
    for value in values:
        other = tmp_path / "other"
        other.write_bytes(content[:at] + struct.pack(form, value) + content[at + struct.calcsize(form) :])
        np.testing.assert_allclose(audio.read(other), audio.read(path), atol=1e-4)


def test_an_au_file_of_unknown_size(tmp_path):
    path = write(tmp_path / "a", KINDS["AU-PCM_16"], RATE, sweep(RATE, 3.0))
    content = path.read_bytes()
    other = tmp_path / "other"
    other.write_bytes(content[:8] + b"\xff" * 4 + content[12:])
    np.testing.assert_allclose(audio.read(other), audio.read(path), atol=1e-4)


@pytest.mark.parametrize("name", ["AIFF-PCM_16", "CAF-PCM_16", "W64-PCM_16", "AU-PCM_16", "wav-adpcm_ms"])
def test_half_a_file_is_truncated(tmp_path, name):
    content = write(tmp_path / "a.wav", KINDS[name], 44100, sweep(44100, 4.0)).read_bytes()
    path = tmp_path / "half.wav"
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(AudioError, match=r"truncated, its samples end at (1.9|2.0)"):
        audio.read(path)
    assert len(audio.read(path, partial=True)) == pytest.approx(2 * SAMPLE_RATE, abs=1500)


def test_a_file_larger_than_the_memory_that_a_decoder_may_take(tmp_path):
    path = write(tmp_path / "a.w64", KINDS["W64-PCM_16"], RATE, sweep(RATE, 3.0))
    expected, content = audio.read(path, 0.0, 1.0), bytearray(path.read_bytes())
    at = content.index(b"data\xf3\xac\xd3\x11") + 16
    struct.pack_into("<q", content, at, 24 + (5 << 30))
    struct.pack_into("<q", content, 16, at + 8 + (5 << 30))
    path.write_bytes(content)
    os.truncate(path, at + 8 + (5 << 30))  # takes no room
    np.testing.assert_allclose(isolated.read(path, 0.0, 1.0), expected, atol=1e-4)


def test_g722_in_wav_with_a_placeholder(tmp_path):
    path = write(tmp_path / "a.wav", KINDS["wav-g722"], 16000, sweep(16000, 4.0))
    other = resized(path, 0xFFFFFFFF)
    np.testing.assert_allclose(audio.read(other), audio.read(path), atol=1e-4)
