import dataclasses

import pytest

from atst.errors import UsageError
from atst.finetuning import recipe as recipes
from atst.finetuning.fit import sizes
from atst.training.schedules import scaled_learning_rate

# learning rate before the x 2 for 512 clips, epochs, warm-up, as docs/finetuning.md has them
GENERATION_2023 = {
    "spcv2": ((0.5,), 50, 5),
    "voxceleb1": ((0.05, 0.1), 50, 5),
    "nsynth": ((2.5e-4, 5e-4, 1e-3), 50, 5),
    "us8k": ((2e-3,), 50, 5),
    "audioset20k": ((0.5, 1), 200, 5),
    "fsd50k": ((0.5, 1), 100, 5),
    "audioset2m": ((0.5, 1, 2), 10, 2),
}


GENERATION_2022 = {
    "spcv2": ((0.5,), 50, 5),
    "voxceleb1": ((0.05, 0.1, 0.5), 50, 5),
    "audioset20k": ((0.5, 1, 2, 4), 200, 5),
}


def test_the_paper_is_its_own_generation():
    assert recipes.known_tasks("paper") == sorted(GENERATION_2022)
    for task, (rates, epochs, warmup) in GENERATION_2022.items():
        recipe, later = recipes.resolve(task, "paper"), recipes.resolve(task, "authors2023")
        assert recipe.learning_rate in rates
        assert (recipe.max_epochs, recipe.warmup_epochs) == (epochs, warmup)
        assert (recipe.layer_decay, recipe.select) == (1, "best")
        assert recipe.validate_epochs == (1 if task == "audioset20k" else 10)
        same = {"layer_decay": 0.75, "select": "last", "validate_epochs": 1}
        assert dataclasses.replace(recipe, **same, learning_rate=later.learning_rate) == later


def test_known_tasks_have_the_authors_values():
    assert recipes.known_tasks("authors2023") == sorted(GENERATION_2023)
    for task, (rates, epochs, warmup) in GENERATION_2023.items():
        recipe = recipes.resolve(task, "authors2023")
        assert (recipe.drop_path, recipe.pooling) == (0.1, "published")
        assert recipe.learning_rate in rates
        assert (recipe.max_epochs, recipe.warmup_epochs) == (epochs, warmup)
        assert (recipe.layer_decay, recipe.clip_norm, recipe.segment_seconds) == (0.75, 3, 6)
        assert recipe.precision == "float32"
        assert (recipe.masks, recipe.select) == ((0, 0), "last")
        assert recipe.balanced == (task == "audioset2m")
        size = sizes(recipe, 10**6, 4)
        assert (size.batch, scaled_learning_rate(recipe.learning_rate, size.batch)) == (
            512,
            2 * recipe.learning_rate,
        )


def test_protocols():
    assert recipes.protocol_of("spcv2", None) == "paper"
    assert recipes.protocol_of("us8k", None) == recipes.protocol_of("spcv2", "authors2023") == "authors2023"
    assert recipes.protocol_of("spcv2", "own") == recipes.protocol_of("mine", None) == "own"
    with pytest.raises(UsageError, match="2023 has no values for 'mine', only for audioset20k, audioset2m"):
        recipes.protocol_of("mine", "authors2023")
    three = (
        "2022 has no values for 'us8k', only for audioset20k, spcv2, voxceleb1; use --protocol authors2023 or"
    )
    with pytest.raises(UsageError, match=three):
        recipes.protocol_of("us8k", "paper")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("learning_rat=1", "Did you mean 'learning_rate'"),
        ("max_epochs=0", "at least 1"),
        ("max_epochs=2.5", "whole number"),
        ("batch_size=1", "at least 2"),
        ("select=first", "unknown select 'first'"),
        ("loss=mse", "unknown loss"),
        ("pooling=max", "unknown pooling"),
        ("drop_path=1.5", "between 0 and 1"),
        ("validate_epochs=0", "at least 1"),
        ("mixup_probability=2", "between 0 and 1"),
        ("segment_seconds=20", "segment_seconds must be"),
        ("masks=[-1, 0]", "masks must be at least 0"),
        ("freeze=-1", "freeze must be at least 0"),
    ],
)
def test_a_wrong_key_or_value_is_named(override, message):
    with pytest.raises(UsageError, match=message):
        recipes.resolve("mine", "own", [override])
