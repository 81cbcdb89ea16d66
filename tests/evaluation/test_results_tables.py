"""The tables of docs/results.md are written from what plans gave."""

import runpy
import sys
from pathlib import Path

import pytest

from atst.evaluation.plan import Cell, Setting
from atst.evaluation.table import measured_rows, write_table

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "results_tables.py"
PAGE = """Before.
<!-- begin features value by task -->
<!-- end -->
<!-- begin features difference by task -->
old
<!-- end -->
<!-- begin rates value by model: b; a -->
old
<!-- end -->
<!-- begin absent value by task -->
old
<!-- end -->
After.
"""


def plan_result(folder, values):
    """A plan's table and predictions of 10 clips; by model and setting the accuracy and the validation's."""
    results = []
    for (model, setting), (value, valid) in values.items():
        cell = Cell("x", model, Setting(setting, "paper"), None, 0)
        result = {
            "protocol": "paper",
            "pooling": "published",
            "layers": 1,
            "classifier": "linear",
            "metric": "accuracy",
            "value": value,
            "ci": [value - 0.1, value + 0.1],
            "seed": 0,
            "selected": [{"valid": valid}],
        }
        results.append((cell, result))
        (folder / cell.folder).mkdir(parents=True)
        lines = [f"{clip}.wav,{int(clip < 10 * value)}\n" for clip in range(10)]
        (folder / cell.folder / "predictions.csv").write_text("path,correct\n" + "".join(lines))
    write_table(folder, measured_rows(results), [])


def written(tmp_path, monkeypatch):
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    monkeypatch.setattr(sys, "argv", ["results_tables.py", str(tmp_path), "--page", str(page)])
    runpy.run_path(str(SCRIPT), run_name="__main__")
    return page.read_text()


def test_tables_of_measured_plans_are_written_and_others_stay(tmp_path, monkeypatch):
    features = {"log-mel": 0.5, "nano untrained": 0.4, "nano pre-trained": 0.7, "tiny untrained": 0.1}
    plan_result(tmp_path / "features", {(name, "paper"): (value, 0.5) for name, value in features.items()})
    plan_result(
        tmp_path / "rates",
        {("a", "0.1"): (0.2, 0.9), ("a", "1"): (0.8, 0.3), ("b", "0.1"): (0.6, 0.1), ("b", "1"): (0.3, 0.2)},
    )
    page = written(tmp_path, monkeypatch)
    assert "| log-mel | 0.500 (0.400 to 0.600) |" in page
    assert "| log-mel | +0.200 (" in page
    assert "| nano untrained | +0.300 (" in page
    assert "| tiny untrained | +" not in page  # of another size
    assert "| b | a |\n| --- | --- |\n| 0.300 (0.200 to 0.400), 1 | 0.200 (0.100 to 0.300), 0.1 |" in page
    assert page.count("old") == 1
    assert page.startswith("Before.")
    assert page.endswith("After.\n")


def test_settings_that_no_validation_chooses_between_are_refused(tmp_path, monkeypatch):
    plan_result(tmp_path / "rates", {("a", "0.1"): (0.2, None), ("a", "1"): (0.8, None)})
    with pytest.raises(SystemExit, match="no validation clips to choose by"):
        written(tmp_path, monkeypatch)
