"""`atst demo` makes a page of neighbours and a table with a verdict; again, it goes on."""

import importlib
from pathlib import Path

import numpy as np
import pytest
import soundfile

import atst
from atst.pretraining import recipe as recipes

demo_module = importlib.import_module("atst.commands.demo")


@pytest.fixture
def calls(monkeypatch):
    """Pre-training and probing take minutes; here they only say what they were asked."""
    made: list[tuple[str, dict]] = []

    def pretrain(sources, **options):
        made.append(("pretrain", options))

    def measure(out, device):
        made.append(("measure", {"out": out}))
        return {
            name: right(share) for name, share in [("trained", 0.9), ("untrained", 0.7), ("log-mel", 0.5)]
        }

    monkeypatch.setattr(demo_module, "pretrain", pretrain)
    monkeypatch.setattr(demo_module, "_measure", measure)
    monkeypatch.setattr(demo_module, "_page", lambda folder, out, device: out / "neighbours.html")
    monkeypatch.setattr(demo_module, "seconds_a_step", lambda *_: 0.5)
    return made


def right(share, clips=200):
    """Both methods have the first clips right."""
    return np.stack([np.arange(clips) < share * clips] * 2)


def test_the_run_is_resumed_and_what_it_learned_is_shown(calls, tmp_path, capsys):
    atst.demo(out=tmp_path)
    (_, training), (measured, _) = calls
    assert training["out"] == tmp_path / "run"
    assert training["resume"] is True
    assert measured == "measure"
    table = capsys.readouterr().out
    for text in ("0.900", "+0.200 (+0.1", "Against untrained: ahead by logistic regression and nearest"):
        assert text in table
    assert "did not show a gain" not in table
    assert str(Path(tmp_path, "run", "report.html")) in table


def test_a_gain_that_is_not_shown_is_said_first():
    shown = {"trained": right(0.7), "untrained": right(0.7), "log-mel": right(0.9)}
    first, untrained, logmel = demo_module._verdict(shown).splitlines()
    assert "did not show a gain" in first
    assert untrained.startswith("Against untrained: no difference")
    assert logmel.startswith("Against log-mel: behind by")


def test_neighbours_of_own_recordings_without_those_that_cannot_be_read(tmp_path, capsys):
    (tmp_path / "mine").mkdir()
    for number in range(3):
        sound = np.random.default_rng(number).normal(0, 0.1, 8000)
        soundfile.write(tmp_path / "mine" / f"noise {number}.wav", sound, 16000)
    (tmp_path / "mine" / "broken.wav").write_bytes(b"RIFF")
    page = demo_module._page(tmp_path / "mine", tmp_path, "cpu").read_text()
    assert all(f"noise {number}.wav" in page for number in range(3))
    assert "similarity" in page
    assert "broken.wav" in capsys.readouterr().err


def test_interrupted_it_says_how_to_go_on(calls, tmp_path, monkeypatch):
    def pretrain(sources, **options):
        raise KeyboardInterrupt("Add --resume.")

    monkeypatch.setattr(demo_module, "pretrain", pretrain)
    with pytest.raises(KeyboardInterrupt, match="same command"):
        atst.demo(out=tmp_path)


@pytest.mark.parametrize(("seconds", "steps"), [(0.5, 150), (1.19, 150), (1.8, 100), (18.0, 10), (900.0, 1)])
def test_a_slow_machine_trains_fewer_steps_and_says_so(calls, tmp_path, monkeypatch, capsys, seconds, steps):
    monkeypatch.setattr(demo_module, "seconds_a_step", lambda *_: seconds)
    atst.demo(out=tmp_path)
    assert f"max_steps={steps}" in calls[0][1]["overrides"]
    said = capsys.readouterr().err
    assert (f"minutes on this machine: the demo trains {steps}\n" in said) == (steps < 150)


def test_a_second_call_keeps_the_steps_of_the_first(calls, tmp_path, monkeypatch):
    monkeypatch.setattr(demo_module, "seconds_a_step", lambda *_: 18.0)
    atst.demo(out=tmp_path)
    planned = recipes.resolve("nano", calls[0][1]["overrides"])
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "recipe.yaml").write_text(planned.dump())  # as the first call's training does
    calls.clear()
    monkeypatch.setattr(demo_module, "seconds_a_step", lambda *_: pytest.fail("measured again"))
    atst.demo(out=tmp_path)
    assert calls[0] == ("pretrain", {"out": tmp_path / "run", "resume": True, "device": "auto"})
    assert planned.max_steps == 10
