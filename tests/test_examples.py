"""The scripts and the notebook of examples/ run."""

import json
import runpy
import sys
import types
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import soundfile

import atst

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture(scope="module")
def classes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of soft and loud noises."""
    folder, draws = tmp_path_factory.mktemp("classes"), np.random.default_rng(0)
    for name, level in (("soft", 0.001), ("loud", 0.5)):
        (folder / name).mkdir()
        for i in range(10):
            soundfile.write(folder / name / f"{i}.wav", level * draws.standard_normal(6000 + 50 * i), 8000)
    return folder


def run(monkeypatch: pytest.MonkeyPatch, name: str, *arguments: str | Path) -> None:
    monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
    runpy.run_path(str(EXAMPLES / name), run_name="__main__")


def test_few_labels(classes, monkeypatch, capsys):
    run(monkeypatch, "few_labels.py", classes, "--model", "logmel", "--shots", "3")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "6 sounds learned from, 14 tested: accuracy 1.000"
    assert len(lines) == 11
    with pytest.raises(SystemExit):
        run(monkeypatch, "few_labels.py", classes, "--model", "logmel", "--shots", "10")


def test_finetuning_in_plain_pytorch(classes, monkeypatch, capsys, tmp_path):
    arguments = (classes, "--model", "random:nano", "--out", tmp_path / "tuned", "--epochs", "2")
    run(monkeypatch, "finetune_pytorch.py", *arguments)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == ["epoch 1", "epoch 2"]
    tuned = atst.load(tmp_path / "tuned")
    assert tuned.fingerprint != atst.load("random:nano").fingerprint


def test_the_notebooks_cells(monkeypatch):
    """Run one after the other, with players that keep what they are given in the place of IPython's."""
    cells = json.loads((EXAMPLES / "listen.ipynb").read_text(encoding="utf-8"))["cells"]
    assert all(not cell.get("outputs") for cell in cells), "outputs are not kept in the repository"
    shown: list[np.ndarray] = []
    players = types.ModuleType("IPython.display")
    players.Audio = lambda sound, rate: sound
    players.display = shown.append
    shell = types.ModuleType("IPython")
    shell.get_ipython, shell.version_info = lambda: None, (9, 0)  # what matplotlib asks of it
    monkeypatch.setitem(sys.modules, "IPython", shell)
    monkeypatch.setitem(sys.modules, "IPython.display", players)
    matplotlib.use("agg")
    names: dict[str, object] = {}
    for cell in cells:
        if cell["cell_type"] == "code":
            exec("".join(cell["source"]), names)
    assert len(shown) == 4
    assert shown[0] is names["sounds"][0]  # a sound is its own nearest neighbour
    matplotlib.pyplot.close("all")
