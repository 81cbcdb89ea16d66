"""docs/finetuning.md says what the recipes are."""

from dataclasses import fields
from pathlib import Path

from atst.finetuning import recipe as recipes

TEXT = (Path(__file__).parents[2] / "docs" / "finetuning.md").read_text(encoding="utf-8")


def cells(start: str) -> list[str]:
    """The cells of the only table row that starts so."""
    [line] = [line for line in TEXT.splitlines() if line.startswith(f"| {start} |")]
    return [cell.strip() for cell in line.split("|")[2:-1]]


def test_every_key_of_the_own_recipe():
    own = recipes.resolve("mine", "own")
    for field in fields(recipes.Recipe):
        value = cells(f"`{field.name}`")[0]
        assert own.override([f"{field.name}={value}"]) == own, field.name


def test_the_authors_values():
    for task in recipes.known_tasks("authors2023"):
        rate, paper_rate, epochs, warmup, augmentation, loss = cells(task)
        recipe = recipes.resolve(task, "authors2023")
        assert float(rate.split(" ")[0]) == recipe.learning_rate
        assert (paper_rate != "-") == (task in recipes.known_tasks("paper"))
        if paper_rate != "-":
            assert float(paper_rate.split(" ")[0]) == recipes.resolve(task, "paper").learning_rate
        assert (int(epochs), int(warmup)) == (recipe.max_epochs, recipe.warmup_epochs)
        assert augmentation.endswith("on" if recipe.resize_crop else "off")
        assert recipe.mixup == (
            0 if augmentation == "off" else float(augmentation.split(",")[0].split(" ")[0])
        )
        assert loss.split(",")[0].replace("-", "_") == recipe.loss
        assert ("balanced" in loss) == recipe.balanced
