"""Write the tables of docs/results.md from what the plans beside this script gave.

    for plan in features few-labels finetuning; do
        atst evaluate benchmarks/results-$plan.yaml --out RESULTS/$plan
    done
    python benchmarks/results_tables.py RESULTS

A table stands in the page between the comments `begin PLAN COLUMN by task`, or `by model: A; B` for some
models in this order, and `end`. COLUMN is `value` or `knn` of the plan's table.csv, or `difference`: each
pre-trained model against the baselines and its untrained self, by a paired bootstrap over test clips. Of
several settings the one that is best on validation clips is taken. Tables of plans that RESULTS lacks stay.
"""

import argparse
import csv
import re
from pathlib import Path

import numpy as np

from atst.evaluation.plan import Cell, Setting
from atst.output.markup import markdown
from atst.scoring.metrics import paired_bootstrap
from atst.scoring.splits import FewShot

TABLE = re.compile(
    r"(<!-- begin (?P<plan>\S+) (?P<column>\w+) by (?P<by>task|model)(?:: (?P<models>.+?))? -->\n)"
    r".*?(<!-- end -->)",
    re.S,
)
Row = dict[str, str]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("results", type=Path)
    parser.add_argument("--page", type=Path, default=Path("docs/results.md"))
    options = parser.parse_args()

    page = options.page.read_text()
    options.page.write_text(TABLE.sub(lambda found: written(options.results, found), page))


def written(results: Path, found: re.Match) -> str:
    """A table with its comments, as it is to be."""
    folder = results / found["plan"]
    if not (folder / "table.csv").is_file():
        print(f"{folder}: not measured; its tables stay as they are")
        return found[0]
    rows = measured(folder)
    if found["models"]:
        names = found["models"].split("; ")
        rows = [row for name in names for row in rows if row["model"] == name]
    if found["column"] == "difference":
        rows = differences(folder, rows)
    return found[1] + pivot(rows, found["column"], found["by"]) + found[6]


def measured(folder: Path) -> list[Row]:
    """What a plan measured; of each model, task and number of labels the setting that validation selects."""
    with (folder / "table.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["source"] == "here"]
    several = len({row["setting"] for row in rows}) > 1
    best: dict[tuple[str, ...], Row] = {}
    for row in rows:
        key = row["task"], row["model"], row["labels"]
        if several and not row["valid"]:
            raise SystemExit(f"{folder}: {key}: several settings, and no validation clips to choose by")
        if key not in best or float(row["valid"]) > float(best[key]["valid"]):
            best[key] = row | {"chosen": f", {row['setting']}" if several else ""}
    return list(best.values())


def pivot(rows: list[Row], column: str, by: str) -> str:
    """A column for each task or model, a row for the rest of what differs."""
    columns = list(dict.fromkeys(row[by] for row in rows))
    keys = [key for key in ("task", "model", "against", "labels") if key != by]
    keys = [key for key in keys if len({row.get(key) for row in rows}) > 1]
    lines: dict[tuple[str, ...], dict[str, str]] = {}
    for row in rows:
        lines.setdefault(tuple(row[key] for key in keys), {})[row[by]] = cell(row, column)
    body = [[*key, *(own.get(name, "") for name in columns)] for key, own in lines.items()]
    return markdown([*keys, *columns], body)


def cell(row: Row, column: str) -> str:
    if column == "knn":
        return f"{float(row['knn']):.3f}"
    sign = "+" if column == "difference" else ""
    value, low, high = (f"{float(row[key]):{sign}.3f}" for key in ("value", "low", "high"))
    return f"{value} ({low} to {high}){row['chosen']}"


def differences(folder: Path, rows: list[Row]) -> list[Row]:
    """A row for each pre-trained model against each other kind of features."""
    pairs = [
        (ours, other)
        for ours in rows
        for other in rows
        if "pre-trained" in ours["model"] and comparable(ours["model"], other["model"])
        if (ours["task"], ours["labels"]) == (other["task"], other["labels"])
    ]
    found = []
    for ours, other in pairs:
        first, second = correct(folder, ours), correct(folder, other)
        clips = sorted(first.keys() & second.keys())
        gain, low, high = paired_bootstrap(
            *(np.array([own[clip] for clip in clips]) for own in (first, second))
        )
        numbers = {"value": str(gain), "low": str(low), "high": str(high)}
        found.append(ours | numbers | {"against": other["model"]})
    return found


def comparable(ours: str, other: str) -> bool:
    return "pre-trained" not in other and ("untrained" not in other or ours.split()[0] == other.split()[0])


def correct(folder: Path, row: Row) -> dict[str, float]:
    """Of each test clip, the share of seeds that were right about it."""
    kind, _, number = row["labels"].partition(" ")
    few_shot = (
        FewShot(int(number)) if kind == "shots" else FewShot(fraction=float(number)) if number else None
    )
    seen: dict[str, list[float]] = {}
    for seed in row["seeds"].split():
        place = Cell(row["task"], row["model"], Setting(row["setting"], None), few_shot, int(seed)).folder
        with (folder / place / "predictions.csv").open(newline="") as file:
            for line in csv.DictReader(file):
                seen.setdefault(line["path"], []).append(float(line["correct"]))
    return {clip: float(np.mean(values)) for clip, values in seen.items()}


if __name__ == "__main__":
    main()
