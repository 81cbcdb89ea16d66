import csv
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from atst.corpus.synthetic import SyntheticCorpus
from atst.pretraining import figures
from atst.pretraining import recipe as recipes
from atst.pretraining.log import COLUMNS
from atst.pretraining.report import write_run_report
from atst.pretraining.run import Job, train

RECIPE = recipes.resolve(
    "nano-paper", ["segment_seconds=0.5", "min_seconds=0.5", "max_steps=400", "batch_size=8"]
)
CORPUS = SyntheticCorpus(40, 2.0)


def write_metrics(folder, steps, **changes):
    """A metrics.csv like that of a healthy run; `changes` name columns by value or function of the step."""
    healthy = {
        "loss": 1.0, "output_std_student": 0.05, "output_std_teacher": 0.055,
        "padding": 0.0, "differing": 0.99,
        "learning_rate": 1e-4, "weight_decay": 0.1, "ema": 0.99, "clips_per_second": 80.0,
        "share_of_peak": 0.5,
    }  # fmt: skip
    with (folder / "metrics.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, restval="")
        writer.writeheader()
        for step in range(steps):
            row = {"step": step, **healthy, **({"rank_student": 60.0} if step % 20 == 0 else {})}
            row |= {key: value(step) if callable(value) else value for key, value in changes.items()}
            writer.writerow({key: value for key, value in row.items() if value is not None})


def report(folder, recipe=RECIPE):
    write_run_report(folder, recipe, CORPUS)
    return (folder / "report.html").read_text()


@pytest.mark.parametrize("steps", [0, 3])
def test_a_run_just_started_has_a_report(tmp_path, steps):
    if steps:
        write_metrics(tmp_path, steps)
    text = report(tmp_path)
    assert f"{steps} of 400 steps" in text
    assert "Too early to tell" in text
    assert text.count("data:image/png") == 3


def test_a_healthy_run_is_called_so_and_counted(tmp_path):
    write_metrics(tmp_path, 100)
    text = report(tmp_path)
    assert "No sign of collapse" in text
    assert 'class="warning"' not in text
    assert "mixup (one of the clips before is added, at most 40% of the sum) and random resize crop" in text
    assert "800 clips seen: 20.0 passes over the 40 clips" in text
    assert "in 10 seconds (80 clips a second)" in text
    assert "99.0%" in text
    assert "<td>weight_decay</td><td>[0.04, 0.4]</td>" in text


def test_collapse_is_told_in_words_with_its_step(tmp_path):
    write_metrics(tmp_path, 300, output_std_student=lambda step: 0.05 if step < 200 else 0.001)
    text = report(tmp_path)
    assert "collapsing" in text
    assert "Step 238:" in text  # where the mean of 50 steps falls below a fifth of 1/16
    assert "show no collapse" not in text


def test_a_recovery_is_told_and_pairs_of_one_segment_are(tmp_path):
    write_metrics(tmp_path, 400, differing=0.2, output_std_student=lambda step: 0.001 if step < 100 else 0.05)
    text = report(tmp_path)
    assert "Step 49:" in text
    assert "The last 100 steps show no collapse." in text
    assert "Only 20% of the pairs" in text
    assert "Only 20% of the pairs" not in report(tmp_path, replace(RECIPE, same_segment=True))


def test_faults_are_counted_and_the_first_ones_named(tmp_path):
    write_metrics(tmp_path, 3)
    lines = [f'"clip <{i:03}>, odd.wav",truncated\n' for i in range(25)]
    (tmp_path / "errors.csv").write_text("path,reason\n" + "".join(lines))
    text = report(tmp_path)
    assert "<td>unreadable clips replaced</td><td>25</td>" in text
    assert "clip &lt;019&gt;, odd.wav" in text
    assert "clip &lt;020&gt;" not in text


def test_the_views_are_described_as_they_are(tmp_path):
    assert "mixup (one of the clips" not in report(tmp_path, replace(RECIPE, mixup=False))
    assert "becomes of them by nothing" in report(tmp_path, replace(RECIPE, mixup=False, resize_crop=False))


def test_the_watched_accuracy_gets_a_curve():
    columns = {name: np.full(3, np.nan) for name in COLUMNS} | {"step": np.arange(3.0)}
    without = len(figures.learning(columns).axes)
    columns["watch"] = np.array([np.nan, 0.5, 0.6])
    assert len(figures.learning(columns).axes) == without + 1


def test_training_writes_the_report(tmp_path):
    recipe = replace(RECIPE, max_steps=2, workers=0, precision="float32")
    torch.manual_seed(0)
    train(Job(recipe, CORPUS, tmp_path / "run", torch.device("cpu")))
    assert "2 of 2 steps" in (tmp_path / "run" / "report.html").read_text()


@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=60), st.integers(1, 30))
@settings(max_examples=50, deadline=None)
def test_running_mean(values, window):
    half = window // 2
    expected = [np.mean(values[max(0, i - half) : i + half + 1]) for i in range(len(values))]
    np.testing.assert_allclose(figures.running_mean(np.array(values), window), expected, atol=1e-8)
