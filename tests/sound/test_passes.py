"""Windows of a recording are cut from one forward pass, in bounded memory, however long it is."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from kinds import KINDS, sweep, write

from atst.sound import audio, mpeg
from atst.sound.audio import SAMPLE_RATE
from atst.sound.decoding import WORK, Notes
from atst.sound.holes import Holes


@pytest.fixture
def decoded(monkeypatch) -> list[int]:
    """The sizes of the packets that FFmpeg decoded."""
    sizes = []

    def note(self, packet):
        sizes.append(packet.size)
        return pass_over(self, packet)

    pass_over = Holes.pass_over
    monkeypatch.setattr(Holes, "pass_over", note)
    return sizes


def uncounted_mp3(folder: Path, minutes: float) -> tuple[Path, int]:
    """An MP3 file that does not say how many frames it has, and their number."""
    path = write(folder / "a.mp3", KINDS["mp3-libmp3lame"], 8000, sweep(8000, 10.0))
    offsets = mpeg.frames(str(path)).offsets
    times = round(minutes * 6)
    path.write_bytes(path.read_bytes()[offsets[0] :] * times)
    return path, len(offsets) * times


@pytest.mark.parametrize("minutes", [1, 3])
def test_windows_of_a_long_mp3_decode_each_frame_once(tmp_path, decoded, minutes):
    path, frames = uncounted_mp3(tmp_path, minutes)
    windows = list(audio.stream(path, 10.0))
    assert len(decoded) in range(frames, frames + 3)
    assert sum(map(len, windows)) / SAMPLE_RATE == pytest.approx(frames * 576 / 8000, abs=0.2)


def test_a_segment_in_windows_is_decoded_once(tmp_path, decoded):
    """Of a kind whose decoder must begin at the start."""
    path = write(tmp_path / "a.aac", KINDS["adts-aac"], 16000, sweep(16000, 62.0))
    expected = audio.read(path, 5.0, 50.0)
    frames = len(decoded)
    decoded.clear()
    segment = {"seconds": 5.0, "start": 5.0, "end": 55.0}
    windows = list(WORK["stretch"](str(path), Notes(), **segment))
    assert len(decoded) == frames
    assert len(windows) == 10
    np.testing.assert_allclose(np.concatenate(windows), expected, atol=1e-6)


@pytest.mark.full
def test_memory_does_not_grow_with_the_length(tmp_path):
    peaks = []
    for minutes in (10, 40):
        path, _ = uncounted_mp3(tmp_path, minutes)
        tracemalloc.start()
        for _ in audio.stream(path, 60.0):
            pass
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0]
    assert peaks[1] < 64 << 20
