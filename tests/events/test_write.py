"""What is written as Raven or Audacity tables, or as the own one, reads back the same."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from atst.events.collect import collect
from atst.events.event import Event, Options
from atst.events.recordings import Recordings
from atst.events.write import OWN, own_row, plain, relative, write_tables
from atst.output.atomic import write_csv

TEXTS = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\t\r\n\0"), min_size=1)
LABELS = TEXTS.map(str.strip).filter(bool)
SECONDS = st.floats(0, 5, allow_nan=False)
HERTZ = st.none() | st.floats(0, 1e5)
EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["a.wav", "b.WAV"]),
        SECONDS,
        SECONDS,
        LABELS,
        HERTZ,
        HERTZ,
        st.none() | st.floats(0, 1),
    ),
    min_size=1,
    max_size=6,
)


def made(audio, drawn, confident):
    events = []
    for name, first, second, label, low, high, confidence in drawn:
        low, high = sorted((low, high)) if low is not None and high is not None else (low, high)
        confidence = (confidence or 0.0) if confident else None
        times = sorted((first, second))
        events.append(Event(audio / name, *times, label, low, high, 1, confidence, Path("t"), 1))
    return events


def cells(events, channel):
    return sorted(
        (
            e.path.name,
            e.start,
            e.end,
            e.label,
            str(e.low),
            str(e.high),
            e.channel if channel else 1,
            str(e.confidence),
        )
        for e in events
    )


@pytest.mark.parametrize("program", ["raven", "audacity", "own"])
@given(drawn=EVENTS, confident=st.booleans())
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_table_reads_back_the_same(audio, tmp_path_factory, program, drawn, confident):
    events = made(audio, drawn, confident)
    folder = tmp_path_factory.mktemp("out")
    if program == "own":
        write_csv(
            folder / "meta.csv", OWN, [own_row(e, relative(e.path, folder / "meta.csv")) for e in events]
        )
        sources = [folder / "meta.csv"]
    else:
        sources = write_tables(events, program, folder)
    found = collect(sources, Options(min_confidence=0), Recordings([audio], beside_first=False))
    assert not found.refused, found.refused
    assert cells(found.events, program != "audacity") == cells(events, program != "audacity")


def test_a_table_has_the_name_and_the_columns_that_raven_gives(audio, tmp_path):
    events = made(
        audio, [("a.wav", 1, 2.5, "owl", 100.0, 200.0, None), ("a.wav", 3, 3, "cat", None, None, None)], False
    )
    assert [path.name for path in write_tables(events, "raven", tmp_path)] == ["a.Table.1.selections.txt"]
    assert (tmp_path / "a.Table.1.selections.txt").read_text().splitlines() == [
        "Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)\tLow Freq (Hz)\tHigh Freq (Hz)"
        "\tBegin File\tAnnotation",
        "1\tSpectrogram 1\t1\t1.0\t2.5\t100.0\t200.0\ta.wav\towl",
        "2\tWaveform 1\t1\t3.0\t3.0\t\t\ta.wav\tcat",
    ]


def test_a_label_track_has_the_name_and_the_lines_that_audacity_gives(audio, tmp_path):
    events = made(audio, [("a.wav", 1, 2.5, "owl\tcat\n", None, 200.0, None)], False)
    assert [path.name for path in write_tables(events, "audacity", tmp_path)] == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "1.0\t2.5\towl cat \n\\\t-1\t200.0\n"


@pytest.mark.parametrize(("paths", "names"), [
    (["x/a.wav", "y/b.wav"], ["a.txt", "b.txt"]),
    (["x/a.wav", "y/a.wav"], ["x/a.txt", "y/a.txt"]),
    (["x/a.wav", "x/a.flac"], ["a.wav.txt", "a.flac.txt"]),
])  # fmt: skip
def test_no_two_recordings_share_a_table(tmp_path, paths, names):
    events = [Event(Path(path), 0, 1, "owl", None, None, None, None, Path("t"), 1) for path in paths]
    assert write_tables(events, "audacity", tmp_path) == [tmp_path / name for name in names]


@pytest.mark.parametrize(("value", "text"), [(1e-7, "0.0000001"), (0.1, "0.1"), (12.0, "12.0"), (None, "")])
def test_numbers_have_no_exponent(value, text):
    assert plain(value) == text
