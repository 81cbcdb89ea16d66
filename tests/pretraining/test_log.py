"""What a run says while it trains: how long it will take, and how fast it is."""

import csv
import os
from types import SimpleNamespace

import numpy as np
import pytest

from atst.pretraining import log as logs
from atst.pretraining import recipe as recipes
from atst.pretraining import report
from atst.pretraining.flops import flops_per_clip
from atst.pretraining.module import PretrainingModule

STEPS = 100
STATISTICS = {
    "loss": 1.0,
    "output_std_student": 0.05,
    "output_std_teacher": 0.05,
    "padding": 0.0,
    "differing": 1.0,
}


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still; `clock.now` moves it."""
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(logs, "matmul_peak", lambda precision, device: 0.0)  # takes time
    monkeypatch.setattr(logs, "time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


@pytest.mark.parametrize("seconds", [0.1, 60.0])
def test_processes_exchange_what_they_measured_at_steps_that_no_clock_decides(
    clock, tmp_path, monkeypatch, seconds
):
    exchanged = []
    monkeypatch.setattr(logs, "_gathered", lambda mine: exchanged.append(trainer.global_step) or [mine])
    module = PretrainingModule(recipes.resolve("nano-paper", [f"max_steps={STEPS}", "warmup_steps=1"]))
    module.statistics = dict(STATISTICS)
    trainer = SimpleNamespace(accumulate_grad_batches=1, global_step=0)
    log = logs.RunLog(tmp_path, module.recipe, 1, 0, writes=True)
    for batch in range(STEPS):
        log.on_train_batch_start(trainer, module, None, batch)
        clock.now += seconds
        trainer.global_step += 1
        log.on_train_batch_end(trainer, module, None, {"errors": []}, batch)
    assert exchanged == [1, 21, 41, 61, 81]
    log.close()


@pytest.mark.parametrize("first_step", [0, 37])  # new, and resumed
@pytest.mark.parametrize("seconds", [0.1, 0.5, 4.0, 4.9, 7.0, 60.0])
def test_an_estimate_comes_within_ten_seconds_of_the_first_step(clock, tmp_path, capsys, first_step, seconds):
    changes = [f"max_steps={STEPS}", "warmup_steps=1", "batch_size=64", "precision=float32"]
    module = PretrainingModule(recipes.resolve("nano-paper", changes))
    module.statistics = dict(STATISTICS)
    trainer = SimpleNamespace(accumulate_grad_batches=1, global_step=first_step)
    log = logs.RunLog(tmp_path, module.recipe, 1, first_step, writes=True)
    log.on_train_start(trainer, module)
    clock.now += 20.0  # the loader processes start
    told = None
    for batch in range(first_step, STEPS):  # the trainer goes on counting
        log.on_train_batch_start(trainer, module, None, batch)
        clock.now += seconds
        trainer.global_step += 1
        log.on_train_batch_end(trainer, module, None, {"errors": []}, batch)
        said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("expected: ")]
        if said:
            assert told is None
            told = clock.now - 20.0 - seconds
            expected = logs.clock((STEPS - first_step) * seconds)
            assert said == [f"expected: {expected} in all, at the speed of the first steps"]
    log.close()
    assert told is not None
    assert told <= 10.0


def test_the_progress_line_says_which_share_of_the_peak_is_used_and_that_the_machine_is_the_limit(
    tmp_path, monkeypatch, capsys
):
    plan = recipes.resolve("nano-paper", ["max_steps=1", "warmup_steps=1", "precision=float32"])
    module = PretrainingModule(plan)
    module.statistics = dict(STATISTICS)
    monkeypatch.setattr(logs, "matmul_peak", lambda precision, device: 1e12)
    for name, load in (("busy", 1000.0), ("quiet", 0.0)):
        (tmp_path / name).mkdir()
        monkeypatch.setattr(os, "getloadavg", lambda load=load: (load, load, load))
        log = logs.RunLog(tmp_path / name, plan, 1, 0, writes=True)
        trainer = SimpleNamespace(accumulate_grad_batches=1, global_step=0)
        log.on_train_start(trainer, module)
        log.on_train_batch_start(trainer, module, None, 0)
        trainer.global_step += 1
        log.on_train_batch_end(trainer, module, None, {"errors": []}, 0)
        log.close()
        said = capsys.readouterr().err
        assert "% of the peak)" in said
        assert ("the machine is the limit: load 1000.0 on" in said) == (name == "busy")
        with (tmp_path / name / "metrics.csv").open(newline="") as file:
            [row] = csv.DictReader(file)
        share = float(row["clips_per_second"]) * flops_per_clip(plan) / 1e12
        assert float(row["share_of_peak"]) == pytest.approx(share, rel=1e-4)


def test_a_run_that_an_earlier_version_started_keeps_its_columns(tmp_path):
    (tmp_path / "metrics.csv").write_text("step,loss,clips_per_second,watch\n0,1,2,\n")
    logs._append(tmp_path / "metrics.csv", [{"step": 1, "loss": 0.5, "share_of_peak": 0.6}])
    assert (tmp_path / "metrics.csv").read_text().splitlines()[1:] == ["0,1,2,", "1,0.5,,"]
    columns = report._read_metrics(tmp_path / "metrics.csv")
    assert columns["loss"].tolist() == [1.0, 0.5]
    assert np.isnan(columns["share_of_peak"]).all()
