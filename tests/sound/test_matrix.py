"""A stretch of any kind of file equals the same span of the whole, wherever it lies."""

from pathlib import Path

import numpy as np
import pytest
from kinds import KINDS, sweep, write

from atst.sound import audio
from atst.sound.audio import SAMPLE_RATE

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
    ("mpeg-mp2", 16000),
    ("wv-wavpack", 8000),
}
ALL = [(name, rate) for name, kind in KINDS.items() for rate in kind.rates]


@pytest.mark.parametrize(
    ("name", "rate"), [pytest.param(*one, marks=[] if one in FEW else pytest.mark.full) for one in ALL]
)
def test_stretches_and_windows_are_those_of_the_whole(tmp_path, name, rate):
    kind = KINDS[name]
    path = write(tmp_path / f"sound.{kind.ending}", kind, rate, sweep(rate, SECONDS))
    whole = audio.read(path)
    assert abs(len(whole) / SAMPLE_RATE - SECONDS) < 0.3  # some encoders add their delay, or fill a block
    assert is_the_sweep(whole)
    end = len(whole) / SAMPLE_RATE
    places = [(0, 0.5), (0.7, 1.0), (1.9, 0.2), (31.234, 0.5), (59.9, 0.2), (end - 0.2, 0.1), (end - 0.05, 1)]
    for start, duration in places:
        span = whole[round(start * SAMPLE_RATE) : round((start + duration) * SAMPLE_RATE)]
        np.testing.assert_allclose(
            audio.read(path, start, duration), span, atol=TOLERANCE, err_msg=f"{start} s"
        )
    np.testing.assert_array_equal(np.concatenate(list(audio.stream(path, 7.3))), whole)


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
