"""When a run saves and stops, without a run."""

import types

import pytest

from atst.training.checkpoints import Checkpoints


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
    trainer = Trainer(lambda: saver._stop() if next(exchanges) == exchange else None)
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
