"""benchmarks/dev.py: splits for choosing that hold no test clip, and differences between models."""

import runpy
import sys
from itertools import product
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from tones import tone

from atst.tasks import load_task

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "dev.py"
dev = SimpleNamespace(**runpy.run_path(str(SCRIPT)))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """The folders of the four tasks, with a few tones each."""
    root = tmp_path_factory.mktemp("data")
    write(
        root,
        "esc10",
        "label,fold",
        [
            (f"{kind}-{fold}-{i}", f"{kind},{fold}", kind)
            for kind, fold, i in product((0, 1), range(1, 6), "ab")
        ],
    )
    for digit, speaker, index in product((0, 1), ("ann", "bob", "eve"), (0, 9, 10, 11)):
        sound(root / "tasks" / "fsdd" / "audio" / f"{digit}_{speaker}_{index}.wav", digit, index)
    notes = [
        (f"{family}__00{program}_x__p{i}", "test" if program == 6 else "valid" if i == 0 else "train", kind)
        for (kind, family), program, i in product(enumerate(("bass", "organ")), range(7), range(3))
    ]
    write(
        root, "gmnotes", "label,split", [(name, f"{name[:4]},{split}", kind) for name, split, kind in notes]
    )
    lines = [f"audio/{name}.wav,{kind},{split}" for name, split, kind in notes]
    (root / "tasks" / "gmnotes" / "meta_pitch_class.csv").write_text("\n".join(["path,label,split", *lines]))
    return root


def write(root, name, columns, clips):
    folder = root / "tasks" / name
    for i, (file, _, kind) in enumerate(clips):
        sound(folder / "audio" / f"{file}.wav", kind, i)
    lines = [f"audio/{file}.wav,{rest}" for file, rest, _ in clips]
    (folder / "meta.csv").write_text("\n".join([f"path,{columns}", *lines]))


def sound(path, kind, seed):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, tone(500 + 2000 * kind, seed, 0.1), 16000)


together = {"families": lambda clip: clip.rsplit("__", 1)[0], "digits": lambda clip: clip.split("_")[1]}


def test_no_test_clip_is_among_those_for_choosing(data):
    for name, (registered, folder) in dev.TASKS.items():
        task = load_task(registered, data / "tasks" / folder)
        chosen = dev.dev_task(task, name)
        assert chosen.splits is chosen.tested is None
        tested = {"ESC-10": lambda t: t.folds > 3, "digits": lambda t: t.tested}.get(
            name, lambda t: t.splits == "test"
        )(task)
        assert chosen.names == [task.names[i] for i in np.flatnonzero(~tested)]
        labels = dict(zip(task.names, task.labels.tolist(), strict=True))
        assert [labels[clip] for clip in chosen.names] == chosen.labels.tolist()
        fold_of = {}
        for clip, fold in zip(chosen.names, chosen.folds.tolist(), strict=True):
            whole = together.get(name, str)(clip)
            assert fold_of.setdefault(whole, fold) == fold
        assert len(set(chosen.folds.tolist())) == (5 if "gmnotes" in registered else 3)


def measured(right):
    """A model with this share of right answers, of each method, in two folds of 100 clips of each task."""
    clips = np.arange(100) / 100
    folds = [np.stack([clips < share for share in right]).astype(float)] * 2
    return dev.Measured("x", 1, dict.fromkeys(dev.TASKS, folds))


def test_the_difference_of_the_mean_is_paired_and_has_a_narrower_interval_than_each_task():
    better, worse = measured((0.8, 0.5)), measured((0.6, 0.5))
    regression, neighbours = dev.differences(better, worse)
    assert neighbours[1:] == ["+0.000 (+0.000 to +0.000)"] * 5
    assert all(cell.startswith("+0.200 (+0.1") for cell in regression[1:])
    widths = [
        np.subtract(*map(float, cell.strip(")").split("(")[1].split(" to ")[::-1])) for cell in regression[1:]
    ]
    assert widths[-1] == pytest.approx(widths[0] / 2, rel=0.2)
    assert dev.differences(worse, better)[0][1].startswith("-0.200 (-0.2")


@pytest.mark.parametrize("options", [[], ["--test", "--shots", "1", "2", "--draws", "2"]])
def test_a_row_a_model_and_the_first_against_the_others(data, options, capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("ATST_CACHE", str(tmp_path))
    models = ["logmel", "random:nano", "random:nano,pooling=mean"]
    monkeypatch.setattr(sys, "argv", ["dev.py", *models, "--data", str(data), *options])
    runpy.run_path(str(SCRIPT), run_name="__main__")
    printed = capsys.readouterr().out
    assert "| logmel | 128 | 1.000 / " in printed
    for name in ("random:nano", "random:nano pooling=mean"):
        assert f"| {name} | 1024 |" in printed
        assert printed.count(f"logmel minus {name}, 95% interval") == max(1, len(options[2:-2]))
    assert ("test parts" if options else "dev splits") in printed
