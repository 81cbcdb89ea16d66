"""Progress goes to stderr, leaves the items alone and says how far and how long."""

import io
import sys

import pytest

from atst.output import progress
from atst.output.progress import Display, Progress, clock, track


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_items_pass_unchanged_and_stdout_stays_clean(capsys):
    assert list(track("abc", "reading")) == ["a", "b", "c"]
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "reading: 3/3 (0:00)\n"  # quick work gives one line, the last


def test_lines_tell_count_and_time_left(capsys, monkeypatch):
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.0)
    list(track(range(3), "reading"))
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "reading: 1/3 (0:00, 0:00 left)",
        "reading: 2/3 (0:00, 0:00 left)",
        "reading: 3/3 (0:00)",
    ]


def test_without_a_length_only_the_count_is_shown(capsys):
    list(track(iter(range(5)), "reading"))
    assert capsys.readouterr().err == "reading: 5 (0:00)\n"


def test_nothing_to_do_says_nothing(capsys):
    assert list(track([], "reading")) == []
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
def test_a_quiet_display_shows_warnings_alone(monkeypatch, stream):
    monkeypatch.setattr(sys, "stderr", stream())
    monkeypatch.setattr(progress, "FIRST_SECONDS", 0.0)
    with progress.quiet(), Display("training") as display:
        assert not display.due
        display.show(Progress(1, 2, "step 1/2"))
        display.say("expected: 2:00")
        display.warn("the loss is odd")
    assert sys.stderr.getvalue() == "warning: the loss is odd\n"


def test_a_terminal_gets_a_bar(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    assert list(track(range(4), "reading", total=4)) == [0, 1, 2, 3]
    assert "reading" in terminal.getvalue()
    assert "4/4" in terminal.getvalue()


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00"), (59.6, "1:00"), (61, "1:01"), (3600, "1:00:00"), (36061, "10:01:01")]
)
def test_clock(seconds, text):
    assert clock(seconds) == text
