"""`auto` is the faster precision of the machine, decided once and kept."""

import os
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from atst.errors import TrainingError
from atst.pretraining import recipe as recipes
from atst.training import precision

CPU = torch.device("cpu")
WIDTH = 128


@pytest.fixture
def speeds(monkeypatch):
    """Says how many times as fast as float32 bfloat16 seems to be; the list holds what was measured."""
    measured: list[str] = []

    def use(faster: float) -> list[str]:
        def seconds(word: str, width: int, device: torch.device) -> float:
            measured.append(word)
            return 1.0 if word == "float32" else 1.0 / faster

        monkeypatch.setattr(precision, "seconds", seconds)
        return measured

    return use


def recipe(word: str) -> recipes.Recipe:
    return recipes.resolve("nano", [f"precision={word}"])


@pytest.mark.parametrize(
    ("faster", "word"), [(6.0, "bf16"), (1.3, "bf16"), (1.29, "float32"), (0.02, "float32")]
)
def test_auto_takes_bfloat16_where_it_is_worth_it(speeds, tmp_path, faster, word):
    speeds(faster)
    settled = precision.settle(recipe("auto"), WIDTH, CPU, tmp_path, resumed=False)
    assert settled == replace(recipe("auto"), precision=word)


def test_a_precision_that_was_chosen_stays(speeds, tmp_path, capsys):
    measured = speeds(1 / 60)
    assert precision.settle(recipe("float32"), WIDTH, CPU, tmp_path, resumed=False).precision == "float32"
    assert measured == []
    assert precision.settle(recipe("bf16"), WIDTH, CPU, tmp_path, resumed=False).precision == "bf16"
    assert "bf16 is 60 times slower than float32" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("word", "faster", "said"),
    [("bf16", 1 / 60, True), ("bf16", 1 / 3, False), ("float32", 3.9, False), ("float32", 4.1, True)],
)
def test_a_resumed_run_keeps_its_precision_and_says_where_it_is_slow(
    speeds, tmp_path, capsys, word, faster, said
):
    speeds(faster)
    assert precision.settle(recipe(word), WIDTH, CPU, tmp_path, resumed=True).precision == word
    assert ("times slower than" in capsys.readouterr().err) == said


def test_other_processes_take_the_answer_of_the_first(speeds, tmp_path, monkeypatch):
    measured = speeds(6.0)
    for name, value in {"RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "recipe.yaml").write_text(recipe("float32").dump())
    assert precision.settle(recipe("auto"), WIDTH, CPU, tmp_path, resumed=False).precision == "float32"
    assert measured == []
    (tmp_path / "recipe.yaml").unlink()
    monkeypatch.setattr(precision, "MOST_WAIT", 0.0)
    with pytest.raises(TrainingError, match="first process"):
        precision.settle(recipe("auto"), WIDTH, CPU, tmp_path, resumed=False)


def test_a_device_without_bfloat16_computes_in_float32(monkeypatch, tmp_path):
    def seconds(word: str, width: int, device: torch.device) -> float:
        if word == "bf16":
            raise TypeError("BFloat16 is not supported")
        return 1.0

    monkeypatch.setattr(precision, "seconds", seconds)
    assert precision.settle(recipe("auto"), WIDTH, CPU, tmp_path, resumed=False).precision == "float32"


def test_a_processor_without_bfloat16_instructions_is_measured_to_be_one():
    """oneDNN, told to use AVX2 alone, computes bfloat16 as a processor without such instructions does."""
    code = (
        "import torch; from atst.training.precision import seconds\n"
        "torch.set_num_threads(1); cpu = torch.device('cpu')\n"
        "print(seconds('float32', 128, cpu) < seconds('bf16', 128, cpu))"
    )
    plain = os.environ | {"ONEDNN_MAX_CPU_ISA": "AVX2"}
    done = subprocess.run([sys.executable, "-c", code], env=plain, capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"
