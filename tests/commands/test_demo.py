"""`atst demo` ends with a table, where to look and what to do next; again, it goes on."""

import importlib
from pathlib import Path
from types import SimpleNamespace

import pytest

import atst
from atst.pretraining import recipe as recipes

demo_module = importlib.import_module("atst.commands.demo")


@pytest.fixture
def calls(monkeypatch):
    """Pre-training and probing take minutes; here they only say what they were asked."""
    made: list[tuple[str, dict]] = []

    def pretrain(sources, **options):
        made.append(("pretrain", options))

    def probe(task, *, model, out, **options):
        made.append(("probe", {"model": model, "out": out}))
        value = {"logmel": 0.5, "random:nano": 0.6}.get(model, 0.7)
        return SimpleNamespace(value=value, ci=(value - 0.05, value + 0.05), knn={"value": value - 0.1})

    monkeypatch.setattr(demo_module, "pretrain", pretrain)
    monkeypatch.setattr(demo_module, "probe", probe)
    monkeypatch.setattr(demo_module, "seconds_a_step", lambda *_: 0.5)
    return made


def test_the_run_is_resumed_and_three_feature_sets_are_compared(calls, tmp_path, capsys):
    atst.demo(out=tmp_path)
    (_, training), *probes = calls
    assert training["out"] == tmp_path / "run"
    assert training["resume"] is True
    assert [options["model"] for _, options in probes] == [str(tmp_path / "run"), "random:nano", "logmel"]
    table = capsys.readouterr().out
    for line in ("trained encoder", "0.700  0.650 to 0.750", "untrained encoder", "log-mel statistics"):
        assert line in table
    assert str(Path(tmp_path, "run", "report.html")) in table
    assert f"embed FOLDER --model {tmp_path / 'run'}" in table


def test_interrupted_it_says_how_to_go_on(calls, tmp_path, monkeypatch):
    def pretrain(sources, **options):
        raise KeyboardInterrupt("Add --resume.")

    monkeypatch.setattr(demo_module, "pretrain", pretrain)
    with pytest.raises(KeyboardInterrupt, match="same command"):
        atst.demo(out=tmp_path)


@pytest.mark.parametrize(("seconds", "steps"), [(0.5, 200), (1.34, 200), (2.7, 100), (27.0, 10), (1000.0, 1)])
def test_a_slow_machine_trains_fewer_steps_and_says_so(calls, tmp_path, monkeypatch, capsys, seconds, steps):
    monkeypatch.setattr(demo_module, "seconds_a_step", lambda *_: seconds)
    atst.demo(out=tmp_path)
    assert f"max_steps={steps}" in calls[0][1]["overrides"]
    said = capsys.readouterr().err
    assert (f"minutes on this machine: the demo trains {steps}\n" in said) == (steps < 200)


def test_a_second_call_keeps_the_steps_of_the_first(calls, tmp_path, monkeypatch):
    monkeypatch.setattr(demo_module, "seconds_a_step", lambda *_: 27.0)
    atst.demo(out=tmp_path)
    planned = recipes.resolve("nano", calls[0][1]["overrides"])
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "recipe.yaml").write_text(planned.dump())  # as the first call's training does
    calls.clear()
    monkeypatch.setattr(demo_module, "seconds_a_step", lambda *_: pytest.fail("measured again"))
    atst.demo(out=tmp_path)
    assert calls[0] == ("pretrain", {"out": tmp_path / "run", "resume": True, "device": "auto"})
    assert planned.max_steps == 10
