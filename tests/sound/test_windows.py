"""Blocks of sound become windows, whatever the blocks' lengths."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atst.sound.amount import Amount
from atst.sound.recording import Recording
from atst.sound.windows import Reading, minutes, sliding, split

RATE = 16000


def sound(samples):
    return np.arange(samples, dtype=np.float32)


def blocks(waveform, sizes):
    at = 0
    for size in sizes:
        yield waveform[at : at + size]
        at += size
    yield waveform[at:]


@given(
    st.integers(1, 60_000),
    st.lists(st.integers(0, 9_000), max_size=6),
    st.floats(0.05, 1.0),
    st.floats(0.1, 1.0),
)
def test_sliding_windows_are_the_recordings_own(samples, sizes, window, share):
    waveform, hop = sound(samples), max(0.01, window * share)
    found = list(sliding(blocks(waveform, sizes), window, hop))
    assert found == [] or found[0][0] == 0
    size = round(window * RATE)
    for number, (start, end, part) in enumerate(found):
        at = round(number * hop * RATE)
        assert start == pytest.approx(at / RATE, abs=1e-4)
        assert end == pytest.approx(start + len(part) / RATE)
        np.testing.assert_array_equal(part, waveform[at : at + size])
        assert len(part) == size or number == len(found) - 1, "only the last may be shorter"
    reached = round((len(found) - 1) * hop * RATE) + size
    assert reached > samples - 160, "the last one reaches the end, but for 10 ms"
    assert len(found) == 1 or reached - round(hop * RATE) <= samples - 159, "and no other one does"


@pytest.mark.parametrize(
    ("seconds", "lengths"),
    [(0.001, [0.001]), (60, [60]), (60.005, [60]), (60.5, [60, 0.5]), (150, [60, 60, 30])],
)
def test_minutes(seconds, lengths):
    waveform = sound(round(seconds * RATE))
    found = list(minutes(split(waveform)))
    assert [end - start for start, end, _ in found] == pytest.approx(lengths)
    for start, end, part in found:
        np.testing.assert_array_equal(part, waveform[round(start * RATE) : round(end * RATE)])
    for start, end, part in minutes(split(waveform), keep=12):
        assert len(part) <= 12 * RATE
        assert part.mean() / RATE == pytest.approx((start + end) / 2, abs=1e-3), "its middle"


def test_hours_are_told_by_what_was_read(tmp_path):
    recordings = []
    for name, size in (("a.wav", 1000), ("b.mp3", 50), ("c.wav", 3000), ("bad.mp3", 50), ("d.mp3", 100)):
        recordings.append(Recording(tmp_path / name))
        recordings[-1].path.write_bytes(b"x" * size)
    readings: list[Reading] = []
    amount = Amount(recordings, readings)
    assert amount().total is None
    totals = []
    for recording, hours in zip(recordings, (1, 1, 3, None, 2), strict=True):
        fault = "bad" if hours is None else None
        readings.append(Reading(recording, fault, seconds=3600 * (hours or 0), ended=True))
        totals.append((amount().total or 0) / 3600)
    assert totals == pytest.approx([4.2, 8, 8, 7, 7]), "an MP3 is taken for a WAV until one is read"
    assert re.fullmatch(r"5/5, 7.00 h, [\d,]+ s of sound a second", amount().text)
