"""`atst label`: the classifier's folder, the lock, wrong usage; the page has `library/test_browser.py`."""

import csv
import importlib
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

import atst
from atst.commands.predict import predict
from atst.errors import AtstError, ModelError, UsageError
from atst.output import lock

label_module = importlib.import_module("atst.commands.label")


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """24 recordings, embedded: low tones and high ones."""
    (tmp_path / "sounds").mkdir()
    time, rng = np.arange(16000) / 16000, np.random.default_rng(0)
    for i in range(24):
        tone = 0.3 * np.sin(2 * np.pi * (300 if i % 2 else 3000) * time) + 0.01 * rng.normal(size=16000)
        soundfile.write(tmp_path / "sounds" / f"{'low' if i % 2 else 'high'}_{i}.wav", tone, 16000)
    atst.embed([tmp_path / "sounds"], model="logmel", out=tmp_path / "lib.parquet", quiet=True)
    return tmp_path / "lib.parquet"


@pytest.fixture
def person(monkeypatch):
    """Somebody labels all by their names, in place of `LabelPage.wait`."""

    def wait(page):
        labelling = page.labelling
        while labelling.current is not None:
            labelling.label(labelling.current, [labelling.place(labelling.current)[0].name.split("_")[0]])
            page._changed.set()

    monkeypatch.setattr(label_module.LabelPage, "wait", wait)


def test_the_classifier_is_one(library, tmp_path, person, capsys):
    out = tmp_path / "mine"
    atst.label(library, labels=tmp_path / "meta.csv", classes="high,low", out=out, no_browser=True)
    # What is picked next depends on which training has ended by then, and with it what is held back.
    assert re.search(r"24 labels, [2-6] of them held back\n$", capsys.readouterr().err)
    predict([tmp_path / "sounds"], model=out, out=tmp_path / "said.csv", quiet=True)
    with (tmp_path / "said.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert all(Path(row["path"]).name.startswith(row["label"]) for row in rows)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".meta")] == []
    atst.explore(library, html=tmp_path / "map.html", classifier=out, map="pca", quiet=True)
    assert '"suggestion"' in (tmp_path / "map.html").read_text()
    again = json.loads((out / "labels.json").read_text())
    assert again["labels"] == ["high", "low"]
    assert again["trained_on"] == "20 labels of atst label"
    atst.label(library, labels=tmp_path / "meta.csv", out=out, no_browser=True, quiet=True)  # nothing is left


def test_the_classifier_reads_the_levels_of_the_library(library, tmp_path, person):
    atst.embed([tmp_path / "sounds"], model="random:conv-nano", levels="stem-last", out=library, quiet=True)
    out = tmp_path / "mine"
    options = {"classes": "high,low", "out": out, "no_browser": True, "quiet": True}
    atst.label(library, labels=tmp_path / "meta.csv", **options)
    assert atst.load_classifier(out).readout["levels"] == "stem-last"
    atst.explore(library, html=tmp_path / "map.html", classifier=out, map="pca", quiet=True)
    assert '"suggestion"' in (tmp_path / "map.html").read_text()


def test_another_model_and_another_folder_are_refused(library, tmp_path, person):
    options = {"labels": tmp_path / "meta.csv", "classes": "high,low", "no_browser": True, "quiet": True}
    with pytest.raises(ModelError, match=r"functionals: fingerprint .* another model"):
        atst.label(library, **options, out=tmp_path / "mine", model="functionals")
    with pytest.raises(UsageError, match="holds no classifier"):
        atst.label(library, **options, out=tmp_path / "sounds")
    assert not (tmp_path / "meta.csv").exists()


def test_a_second_page_is_refused(library, tmp_path):
    code = "import sys; from pathlib import Path; from atst.output import lock\n"
    code += "with lock.held(Path(sys.argv[1])): print(flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", code, str(tmp_path / ".meta.csv.lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        other.stdout.readline()
        with pytest.raises(UsageError, match="another atst label is writing it"):
            atst.label(library, labels=tmp_path / "meta.csv", classes="a,b", no_browser=True)
        other.stdin.close()
    assert lock.is_new(tmp_path / ".meta.csv.lock")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"labels": "meta.txt"}, "must end in .csv"),
        ({"classes": "one"}, "two or more are needed"),
        ({"classes": "a,,b"}, "cannot be a class"),
        ({"port": 70000}, "--port must be 0 to 65535"),
        ({"root": "nowhere"}, "none of its recordings is there"),
    ],
)
def test_wrong_usage(library, tmp_path, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(AtstError, match=message):
        atst.label(library, **{"labels": "meta.csv", "classes": "a,b", "no_browser": True, **options})
    assert list(tmp_path.glob("meta*")) == []


def test_rows_of_patches_are_not_labelled(tmp_path, library):
    options = {"model": "random:nano", "out": tmp_path / "frames.parquet", "frames": True, "quiet": True}
    atst.embed([next((tmp_path / "sounds").iterdir())], **options)
    with pytest.raises(UsageError, match="rows of 40 ms"):
        atst.label(tmp_path / "frames.parquet", labels=tmp_path / "meta.csv", classes="a,b")
