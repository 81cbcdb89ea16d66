"""A stretch of any kind of file equals the same span of the whole, wherever it lies."""

from pathlib import Path

import numpy as np
import pytest
from kinds import KINDS, sweep, write

from atst.sound import audio
from atst.sound.audio import SAMPLE_RATE
from atst.sound.decoders import opened

SECONDS = 62.0
TOLERANCE = 1e-4  # of full scale; no sample may be in another place
FEW = {  # one of each way to find a stretch, at rates that are quick
    ("WAV-PCM_16", 44100),
    ("WAV-GSM610", 8000),
    ("FLAC-PCM_16", 22050),
    ("OGG-VORBIS", 22050),
    ("OGG-OPUS", 16000),
    ("mp3-libmp3lame", 44100),
    ("mp4-aac", 22050),
    ("mp4-aac-copied", 16000),
    ("mov-adpcm_ima_qt", 8000),
    ("webm-vorbis", 8000),
    ("ogg-flac", 8000),
    ("wav-g722", 16000),
    ("ac3-ac3", 44100),
    ("mp4-aac-uneven_stamps", 16000),
    ("mpeg-mp2", 16000),
    ("wv-wavpack", 8000),
}
LONG = [
    (name, rate)
    for name in (
        "WAV-PCM_16",
        "FLAC-PCM_16",
        "OGG-VORBIS",
        "mp3-libmp3lame",
        "mp2-mp2",
        "mp4-aac",
        "mp4-alac",
    )
    for rate in (16000, 44100)
] + [("OGG-OPUS", 48000), ("AIFF-PCM_24", 22050), ("CAF-FLOAT", 8000), ("mp4-aac-uneven_stamps", 44100)]
ALL = [(name, rate) for name, kind in KINDS.items() for rate in kind.rates]


@pytest.mark.parametrize(
    ("name", "rate"), [pytest.param(*one, marks=[] if one in FEW else pytest.mark.full) for one in ALL]
)
def test_stretches_and_windows_are_those_of_the_whole(tmp_path, name, rate):
    path, whole = made(tmp_path, name, rate, SECONDS)
    assert abs(len(whole) / SAMPLE_RATE - SECONDS) < 0.3  # some encoders add their delay, or fill a block
    assert is_the_sweep(whole)
    end = len(whole) / SAMPLE_RATE
    places = [(0, 0.5), (0.7, 1.0), (1.9, 0.2), (31.234, 0.5), (59.9, 0.2), (end - 0.2, 0.1), (end - 0.05, 1)]
    check(path, whole, places)
    np.testing.assert_array_equal(np.concatenate(list(audio.stream(path, 7.3))), whole)


@pytest.mark.full
@pytest.mark.parametrize(("name", "rate"), LONG)
def test_stretches_of_minutes(tmp_path, name, rate):
    """Of kinds that are sought: a position must not drift with its distance from the start."""
    path, whole = made(tmp_path, name, rate, 190.0)
    with opened(path) as source:
        assert source.exact
    end = len(whole) / SAMPLE_RATE
    check(
        path,
        whole,
        [(59.9, 0.2), (119.9, 0.2), (150.123, 6.0), (179.9, 0.2), (end - 2.5, 2.0), (end - 0.1, 1)],
    )


def made(folder: Path, name: str, rate: int, seconds: float) -> tuple[Path, np.ndarray]:
    """A file of this kind, and all that is read from it."""
    kind = KINDS[name]
    path = write(folder / f"sound.{kind.ending}", kind, rate, sweep(rate, seconds))
    return path, audio.read(path)


def check(path: Path, whole: np.ndarray, places: list[tuple[float, float]]) -> None:
    """Stretches at these places, start and duration in seconds, are those of the whole."""
    for start, duration in places:
        span = whole[round(start * SAMPLE_RATE) : round((start + duration) * SAMPLE_RATE)]
        stretch = audio.read(path, start, duration)
        np.testing.assert_allclose(stretch, span, atol=TOLERANCE, err_msg=f"{start} s")


def is_the_sweep(whole: np.ndarray) -> bool:
    """Whether a second from the middle is in its place, but for the delay of an encoder."""
    middle = sweep(SAMPLE_RATE, SECONDS)[30 * SAMPLE_RATE : 31 * SAMPLE_RATE]
    around = whole[30 * SAMPLE_RATE - 4000 : 31 * SAMPLE_RATE + 4000]
    likeness = np.correlate(around, middle) / np.linalg.norm(middle) ** 2
    return bool(np.abs(likeness).max() > 0.7)


def test_the_sample_has_only_kinds_that_there_are():
    assert set(ALL) >= FEW


def test_a_stretch_of_every_kind_of_real_vorbis(shared_data):
    """What ends on a page that is cut, as libsndfile's own seek there is late."""
    files: list[Path] = sorted((shared_data / "tasks" / "esc10").rglob("*.ogg"))[::10]
    assert len(files) == 40
    for path in files:
        whole = audio.read(path)
        for before in (0.05, 0.2, 0.5, 1.0, 1.5):
            start = len(whole) / SAMPLE_RATE - before
            span = whole[round(start * SAMPLE_RATE) : round((start + 0.1) * SAMPLE_RATE)]
            np.testing.assert_allclose(audio.read(path, start, 0.1), span, atol=TOLERANCE)
