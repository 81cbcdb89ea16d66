"""What a plan crosses, and what is wrong with one."""

from pathlib import Path

import pytest

from atst.errors import UsageError
from atst.evaluation.plan import read_plan
from atst.scoring.splits import FewShot

FINETUNINGS = ("paper", "own")


def bomb(key):
    """A line that stands for 10 to the 30 values."""
    return f"{key}: [" + ", ".join(f"&a{i} [x{f', *a{i - 1}' * 9 * (i > 0)}]" for i in range(30)) + "]"


START = "models: [runs/a]\ntasks: [x]\n"


def read(tmp_path, text):
    (tmp_path / "plan.yaml").write_text(text)
    return read_plan(tmp_path / "plan.yaml", FINETUNINGS)


def test_a_plan_of_models_and_tasks_is_the_papers_probe_with_all_labels(tmp_path):
    cells = list(read(tmp_path, "models: [runs/a, logmel]\ntasks: {mine: data/meta.csv}").cells())
    assert [(cell.task, cell.model) for cell in cells] == [("mine", "runs/a"), ("mine", "logmel")]
    assert {(cell.setting.protocol, cell.few_shot, cell.seed) for cell in cells} == {("paper", None, 0)}


def test_all_are_crossed_and_each_has_its_own_folder(tmp_path):
    text = (
        "models: {a: runs/a, b: 'random:nano'}\ntasks: [x, y]\nshots: [1, 5, all]\nfraction: 0.1\n"
        "protocols:\n  paper: paper\n  slow: {protocol: 'finetune:own', learning_rate: 0.1, masks: [1, 2]}\n"
        "seeds: [0, 1, 2]"
    )
    cells = list(read(tmp_path, text).cells())
    assert len(cells) == 2 * 2 * 2 * 4 * 3
    assert len({cell.folder for cell in cells}) == len(cells)
    assert {cell.few_shot for cell in cells} == {FewShot(1), FewShot(5), None, FewShot(fraction=0.1)}
    assert {cell.labels for cell in cells} == {"shots 1", "shots 5", "all", "fraction 0.1"}
    [slow] = {cell.setting for cell in cells if cell.setting.finetunes}
    assert (slow.title, slow.protocol) == ("slow", "own")
    assert slow.overrides == ("learning_rate=0.1", "masks=[1, 2]")


def test_the_tasks_own_protocol_of_fine_tuning_needs_no_name(tmp_path):
    [setting] = read(tmp_path, START + "protocols: finetune").settings
    assert setting.finetunes
    assert setting.protocol is None


def test_what_has_no_weights_is_not_fine_tuned_and_that_is_said(tmp_path):
    plan = read(tmp_path, "models: {m: logmel, a: runs/a}\ntasks: [x]\nprotocols: [paper, finetune]")
    assert [(c.model, c.setting.title) for c in plan.cells()] == [
        ("m", "paper"),
        ("a", "paper"),
        ("a", "finetune"),
    ]
    assert plan.notes() == ["m has no weights and was not fine-tuned."]
    with pytest.raises(UsageError, match="nothing to measure"):
        read(tmp_path, "models: [logmel]\ntasks: [x]\nprotocols: finetune")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model: [logmel]", "Did you mean 'models'"),
        ("models: []\ntasks: [esc50]", "'models' must be"),
        ("- logmel", "must be 'key: value' lines"),
        ("models: [", "not valid YAML"),
        ("models: " + "[" * 5000, "not valid YAML"),
        ("models: 2024-13-01", "not valid YAML"),
        (bomb("models"), "aliases"),
        (START + "shots: 0x" + "f" * 5000, "too long"),
        (START + "seed: 0", "Did you mean 'seeds'"),
        (START + "seeds: [0, -1]", "seeds must be"),
        (START + "seeds: []", "seeds must be"),
        (START + "seeds: true", "seeds must be"),
        (START + "protocols: papers", "Did you mean 'paper'"),
        (START + "protocols: 'finetune:papers'", "Did you mean 'finetune:paper'"),
        (START + "protocols: {a: {learning_rate: 1}}", "unknown protocol"),
        (START + "protocols: {a: {protocol: paper, epochs: 1}}", "only fine-tunings take recipe keys"),
        (START + "protocols: {a: {protocol: finetune, seed: 1}}", "give seeds for the whole plan"),
        (START + "protocols: {}", "'protocols' must be"),
        (START + "shots: [0]", "plan.yaml: shots must be 1 or more"),
        (START + "shots: few", "shots must be a number"),
        (START + "shots: 1.5", "shots must be a number"),
        (START + "fraction: 2", "plan.yaml: fraction must be"),
        (START + "shots: 1\nprotocols: hear", "do not go with hear"),
        ("models: [a/b, a-b]\ntasks: [x]", "'a/b' and 'a-b' would share the folder 'a-b'"),
        ("models: [x]\ntasks: {a b: x, a-b: y}", "'a b' and 'a-b' would share the folder 'a-b'"),
    ],
)
def test_a_wrong_plan_is_named(tmp_path, text, message):
    with pytest.raises(UsageError, match=message):
        read(tmp_path, text)


def test_any_value_of_a_recipe_key_is_passed_on(tmp_path):
    keys = "{protocol: finetune, a: 2024-01-01, b: {2024-01-01: 1}, c: [1, 2]}"
    (setting,) = read(tmp_path, START + f"protocols: {{x: {keys}}}").settings
    assert setting.overrides == ('a="2024-01-01"', "b={}", "c=[1, 2]")


def test_a_missing_plan(tmp_path):
    with pytest.raises(UsageError, match="cannot be read"):
        read_plan(tmp_path / "none.yaml", FINETUNINGS)


@pytest.mark.parametrize("path", sorted((Path(__file__).parents[2] / "benchmarks").glob("*.yaml")), ids=str)
def test_the_plans_of_the_results_can_be_read(path):
    assert list(read_plan(path, ("paper", "authors2023", "own")).cells())
