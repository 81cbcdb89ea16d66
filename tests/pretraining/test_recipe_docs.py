"""docs/recipes.md says what the recipes are."""

from dataclasses import fields
from pathlib import Path

from atst.pretraining import recipe as recipes
from atst.pretraining.flops import flops_per_clip

TEXT = (Path(__file__).parents[2] / "docs" / "recipes.md").read_text(encoding="utf-8")
NAMES = ("nano", "nano-paper", "tiny", "small", "base")


def row(start: str, columns: int) -> list[str]:
    """The cells of the only table row that starts so, one a recipe."""
    [line] = [line for line in TEXT.splitlines() if line.startswith(f"| {start} |")]
    return [cell.strip() for cell in line.split("|")[2 : 2 + columns]]


def test_every_key_of_every_recipe():
    for field in fields(recipes.Recipe):
        for name, cell in zip(NAMES, row(f"`{field.name}`", 5), strict=True):
            changed = recipes.resolve(name).override([f"{field.name}={cell}"])
            assert changed == recipes.resolve(name), (field.name, name)


def test_flops():
    for name, cell in zip(NAMES[1:], row("GFLOP a clip", 4), strict=True):
        flops = flops_per_clip(recipes.resolve(name)) / 1e9
        assert abs(flops - float(cell)) < 0.005 * float(cell), name
