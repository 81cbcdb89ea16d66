"""Rows of results: the mean over seeds, and the table in its formats."""

import csv

import pytest

from atst.evaluation.plan import Cell, Setting
from atst.evaluation.table import finetuned_row, measured_rows, table_markdown, write_table
from atst.scoring.splits import FewShot

PROBE = {
    "protocol": "paper",
    "pooling": "published",
    "layers": 4,
    "classifier": "linear",
    "metric": "accuracy",
    "ci": [0.4, 0.6],
    "ci_over": "test clips",
    "knn": {"value": 0.3},
    "selected": [{"valid": 0.7}],
}


def measured(values, labels=None, model="a"):
    """Cells with their results, of seeds 0, 1, ..."""
    cells = [Cell("x", model, Setting("paper", "paper"), labels, seed) for seed in range(len(values))]
    return [
        (cell, PROBE | {"value": value, "seed": cell.seed}) for cell, value in zip(cells, values, strict=True)
    ]


def test_one_seed_keeps_its_interval():
    [row] = measured_rows(measured([0.5]))
    assert (row.value, row.low, row.high, row.interval_over) == (0.5, 0.4, 0.6, "test clips")
    assert (row.setting, row.labels, row.seeds, row.knn, row.valid) == ("paper", "all", "0", 0.3, 0.7)


def test_several_seeds_are_a_mean_with_students_interval_of_it():
    [row] = measured_rows(measured([0.4, 0.5, 0.6]))
    half = 4.303 * 0.1 / 3**0.5  # t of 2 degrees of freedom
    assert row.value == pytest.approx(0.5)
    assert (row.low, row.high) == pytest.approx((0.5 - half, 0.5 + half), abs=1e-4)
    assert (row.interval_over, row.seeds) == ("3 seeds", "0 1 2")


def test_numbers_of_labels_and_models_are_not_mixed():
    results = [*measured([0.4, 0.6]), *measured([0.2], FewShot(5)), *measured([0.9], model="b")]
    rows = measured_rows(sorted(results, key=lambda pair: pair[0].seed))
    assert [(row.model, row.labels, row.value) for row in rows] == [
        ("a", "all", 0.5),
        ("a", "shots 5", 0.2),
        ("b", "all", 0.9),
    ]


def test_a_fine_tuning_names_protocol_and_generation():
    result = {"protocol": "authors2023", "generation": "2023", "trained_on": "all training clips"}
    row = finetuned_row("x", "tuned", PROBE | result | {"value": 0.5, "knn": {"value": 0.1}})
    assert (row.kind, row.generation, row.labels) == ("finetune", "2023", "all")


def test_files_of_the_table(tmp_path):
    rows = measured_rows(measured([0.5], model=r"a|b_100% {x} \y"))
    write_table(tmp_path, rows, ["something"])
    assert r"a\|b_100%" in (tmp_path / "table.md").read_text() == table_markdown(rows)
    latex = (tmp_path / "table.tex").read_text()
    assert r"a|b\_100\% \{x\} \textbackslash{}y & paper & all" in latex
    assert latex.count(r"\\") == 2  # the header and a row
    with (tmp_path / "table.csv").open(newline="") as file:
        [row] = csv.DictReader(file)
    assert (row["model"], float(row["value"]), row["labels"]) == (rows[0].model, 0.5, "all")
    assert "something" in (tmp_path / "report.html").read_text()
