"""Events become windows: positive, unsure, background."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atst.events.event import Event
from atst.events.windows import label_windows

A = Path("a.wav")


def event(start, end, label="owl", path=A):
    return Event(path, start, end, label, None, None, None, None, Path("t.txt"), 1)


def windows(*events, seconds=9.0, window=3.0, hop=3.0, doubtful=(), background=None):
    return label_windows(events, doubtful, {A: seconds}, window, hop, background)


def labels(found):
    return {(row.start, row.end): row.labels for row in found.rows}


@pytest.mark.parametrize(("start", "end", "positive", "unsure"), [
    (1.0, 2.0, [0], 0),
    (2.75, 4.0, [0, 3], 0),  # 0.25 s in the first
    (2.76, 4.0, [3], 1),  # less: unsure
    (2.9, 3.1, [0, 3], 0),  # half of it in each
    (2.95, 3.1, [3], 1),
    (2.5, 6.5, [0, 3, 6], 0),
    (2.9, 6.1, [3], 2),
    (3.0, 3.0, [3], 0),  # a point belongs to the window that it begins
    (9.0, 9.0, [6], 0),  # the last window is closed
    (3.0, 6.0, [3], 0),  # touching is no overlap
])  # fmt: skip
def test_a_window_is_positive_by_a_quarter_second_or_half_of_the_event(start, end, positive, unsure):
    found = windows(event(start, end))
    assert labels(found) == {(s, s + 3.0): ["owl"] for s in map(float, positive)}
    assert found.counts["unsure"] == unsure
    assert found.counts["silent"] == 3 - len(positive) - unsure


def test_an_event_belongs_at_least_to_the_window_with_most_of_it():
    found = windows(event(2.95, 3.2), seconds=3.2, window=3.0)  # the last window is 0.2 s long
    assert labels(found) == {(3.0, 3.2): ["owl"]}
    found = windows(event(0.1, 0.5), seconds=0.9, window=0.1, hop=0.1)  # longer than any window
    assert len(found.rows) == 4


def test_windows_overlap_by_hop():
    found = windows(event(2.0, 2.5), hop=1.0)
    assert sorted(labels(found)) == [(0.0, 3.0), (1.0, 4.0), (2.0, 5.0)]


def test_several_classes_make_several_labels_and_an_unsure_one_leaves_the_window_out():
    assert labels(windows(event(1, 2), event(1.5, 2, "cat"))) == {(0.0, 3.0): ["cat", "owl"]}
    found = windows(event(1, 2), event(2.9, 4, "cat"))
    assert labels(found) == {(3.0, 6.0): ["cat"]}
    assert found.counts["unsure"] == 1


def test_background_is_what_no_event_touches_if_it_is_wanted():
    assert labels(windows(event(1, 2), background="none")) == {
        (0.0, 3.0): ["owl"],
        (3.0, 6.0): ["none"],
        (6.0, 9.0): ["none"],
    }
    assert labels(windows(background="none")).keys() == {(0.0, 3.0), (3.0, 6.0), (6.0, 9.0)}


def test_an_event_without_label_is_no_class_and_no_background():
    found = windows(event(1, 2), doubtful=[event(2.9, 4, "")], background="none")
    assert labels(found) == {(0.0, 3.0): ["owl"], (6.0, 9.0): ["none"]}
    assert found.counts["doubtful"] == 1


def test_only_annotated_recordings_have_windows():
    assert label_windows([], [], {}, 3, 3, "none").rows == []


TIMES = st.floats(0, 20, allow_nan=False).map(lambda x: round(x, 3))


@given(
    st.lists(st.tuples(TIMES, TIMES), max_size=5), st.sampled_from([0.5, 1.0, 3.0]), st.sampled_from([1, 2])
)
def test_every_event_has_a_window_that_is_positive_or_unsure(spans, window, overlap):
    events = [event(min(pair), max(pair), str(number)) for number, pair in enumerate(spans)]
    found = label_windows(events, [], {A: 20.0}, window, window / overlap, "background")
    total = len(found.rows) + found.counts["unsure"]
    assert total == 1 + max(0, round((20 - window) / (window / overlap) + 0.49))
    for one in events if not found.counts["unsure"] else []:
        assert any(one.label in row.labels for row in found.rows)
    for row in found.rows:
        touching = {e.label for e in events if e.start < row.end and e.end > row.start}
        assert row.labels == ["background"] or set(row.labels) >= touching
