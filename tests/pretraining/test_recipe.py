import pytest

from atst.errors import UsageError
from atst.pretraining import recipe as recipes


def test_bundled_recipes_resolve_and_dump_to_themselves(tmp_path):
    assert recipes.names() == ["base", "nano", "nano-paper", "small", "tiny"]
    for name in recipes.names():
        recipe = recipes.resolve(name)
        (tmp_path / "copy.yaml").write_text(recipe.dump())
        assert recipes.resolve(tmp_path / "copy.yaml") == recipe


def test_a_file_changes_some_keys_of_its_base(tmp_path):
    (tmp_path / "mine.yaml").write_text("base: small\nmax_steps: 7\nlearning_rate: 1e-3\n")
    recipe = recipes.resolve(tmp_path / "mine.yaml", ["mixup=false"])
    assert (recipe.size, recipe.max_steps, recipe.learning_rate, recipe.mixup) == ("small", 7, 1e-3, False)


def test_float32_has_an_older_name():
    assert recipes.resolve("small", ["precision=32"]) == recipes.resolve("small", ["precision=float32"])
    assert "precision: float32\n" in recipes.resolve("small", ["precision=32"]).dump()


def test_the_small_recipes_take_the_faster_precision_and_the_papers_take_float32():
    chosen = {name: recipes.resolve(name).precision for name in recipes.names()}
    assert chosen == {
        "nano": "auto",
        "nano-paper": "auto",
        "tiny": "auto",
        "small": "float32",
        "base": "float32",
    }


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("learning_rat=1", "Did you mean 'learning_rate'"),
        ("max_steps", "key=value"),
        ("max_steps=many", "whole number"),
        ("max_steps=1.5", "whole number"),
        ("max_steps=0", "at least 1"),
        ("mixup=1", "true or false"),
        ("size=huge", "unknown size 'huge'"),
        ("segment_seconds=11", "segment_seconds must be"),
        ("segment_seconds=0.01", "segment_seconds must be"),
        ("second_segment_seconds=11", "second_segment_seconds must be"),
        ("subset=-1", "subset must be at least 0"),
        ("subset=0.1", "whole number"),
        ("ema=1.5", "between 0 and 1"),
        ("precision=fp8", "unknown precision"),
        ("min_seconds=20", "more than clip_seconds"),
        ("batch_size=1", "at least 2"),
        ("weight_decay=[1,2,3]", r"\[start, end\]"),
        ("max_steps=[", "not a value"),
        ("learning_rate=.nan", "finite"),
        ("max_steps=.inf", "whole number"),
    ],
)
def test_a_wrong_key_or_value_is_named(override, message):
    with pytest.raises(UsageError, match=message):
        recipes.resolve("tiny", [override])


def test_an_unknown_recipe_names_the_nearest():
    with pytest.raises(UsageError, match="Did you mean 'small'"):
        recipes.resolve("smal")


@pytest.mark.parametrize(
    "text",
    [
        "[",
        "- a list",
        "just text",
        "1: 2",
        "base: 3",
        "seed: 0x" + "f" * 5000,
        "weight_decay: [" + ", ".join(f"&a{i} [x{f', *a{i - 1}' * 9 * (i > 0)}]" for i in range(30)) + "]",
        "weight_decay: &a [*a]",
        "<<: &a {<<: *a}",
        "\0",
    ],
)
def test_a_file_that_is_no_recipe(tmp_path, text):
    (tmp_path / "bad.yaml").write_text(text)
    with pytest.raises(UsageError, match=r"bad\.yaml") as refused:
        recipes.resolve(tmp_path / "bad.yaml")
    assert "\n" not in str(refused.value)
