"""When a run says how long it will take."""

from types import SimpleNamespace

import pytest

from atst.pretraining import log as logs
from atst.pretraining import recipe as recipes
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
    monkeypatch.setattr(logs, "time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


@pytest.mark.parametrize("first_step", [0, 37])  # new, and resumed
@pytest.mark.parametrize("seconds", [0.1, 0.5, 4.0, 4.9, 7.0, 60.0])
def test_an_estimate_comes_within_ten_seconds_of_the_first_step(clock, tmp_path, capsys, first_step, seconds):
    module = PretrainingModule(recipes.resolve("nano-paper", [f"max_steps={STEPS}", "warmup_steps=1"]))
    module.statistics = dict(STATISTICS)
    trainer = SimpleNamespace(accumulate_grad_batches=1, global_step=first_step)
    log = logs.RunLog(tmp_path, 64, first_step, STEPS, writes=True)
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
