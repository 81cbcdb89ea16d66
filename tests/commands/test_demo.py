"""`atst demo` ends with a table, where to look and what to do next; again, it goes on."""

import importlib
from pathlib import Path
from types import SimpleNamespace

import pytest

import atst

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
