"""When a run saves and stops, without a run."""

import math
import signal
import types

import pytest
import torch

from atst.errors import TrainingError
from atst.training.checkpoints import Checkpoints, write


class Trainer(types.SimpleNamespace):
    """One of two processes; `during` is called in each exchange with the other, which wants nothing."""

    def __init__(self, during, other=False):
        super().__init__(global_step=0, accumulate_grad_batches=1, max_steps=100, world_size=2)
        self.is_global_zero, self.should_stop, self.strategy = True, False, self
        self.during, self.other = during, other

    def reduce_boolean_decision(self, decision, all):
        self.during()
        return decision or self.other


def step(saver, trainer):
    trainer.global_step += 1
    saver.on_train_batch_end(trainer, None, None, None, trainer.global_step - 1)


@pytest.mark.parametrize("exchange", [0, 1, 2])
def test_a_signal_while_processes_agree_is_for_the_next_step_which_saves_and_stops(exchange):
    saved, exchanges = [], iter(range(100))
    saver = Checkpoints(lambda trainer, module: saved.append(trainer.global_step), 0, 0)
    trainer = Trainer(lambda: saver._stop(signal.SIGTERM) if next(exchanges) == exchange else None)
    step(saver, trainer)
    assert (saved, trainer.should_stop) == ([], False)
    step(saver, trainer)
    if exchange == 2:
        step(saver, trainer)
    assert (saved, trainer.should_stop) == ([trainer.global_step], True)


def test_a_signal_to_the_other_process_stops_this_one_too():
    saved = []
    saver = Checkpoints(lambda trainer, module: saved.append(trainer.global_step), 0, 0)
    trainer = Trainer(lambda: None, other=True)
    step(saver, trainer)
    assert (saved, trainer.should_stop, saver.stopped) == ([1], True, True)


def test_a_second_ctrl_c_stops_at_once_while_what_a_batch_system_repeats_lets_the_saving_end():
    saver = Checkpoints(lambda trainer, module: None, 0, 0)
    saver._stop(signal.SIGUSR1)
    saver._stop(signal.SIGTERM)
    assert saver.stopped
    with pytest.raises(KeyboardInterrupt):
        saver._stop(signal.SIGINT)


def test_a_failure_saves_once_and_is_told_after_the_step():
    saved = []
    saver = Checkpoints(lambda trainer, module: saved.append(trainer.global_step), 0, 0)
    saver.fail("a loader process was killed.")
    trainer = Trainer(lambda: None)
    step(saver, trainer)
    assert (saved, trainer.should_stop) == ([1], True)
    with pytest.raises(TrainingError, match=r"killed\. Saved at step 1; .* --resume continues"):
        saver.raise_failure(1)


@pytest.mark.parametrize(("mine", "other"), [(math.inf, False), (1.0, True)])
def test_no_process_saves_where_the_weights_of_one_are_not_finite(tmp_path, mine, other):
    trainer = Trainer(lambda: None, other=other)
    trainer.optimizers, trainer.lightning_module = [], torch.nn.Linear(2, 2)
    torch.nn.init.constant_(trainer.lightning_module.bias, mine)
    with pytest.raises(TrainingError, match="not finite after step -1"):
        write(trainer, tmp_path, keep=2)
