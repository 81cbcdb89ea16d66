"""A command that is killed at a random moment leaves nothing half-written, and a rerun ends the same."""

import random
import shutil
import signal
import time

import children
import pytest
from children import COMMANDS

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
TRIES = 9
QUICK = ("embed --resume", "pack")
KILLED = [name for name in COMMANDS if name != "export"]  # which takes minutes nine times


@pytest.fixture(scope="module")
def sounds(tmp_path_factory):
    return children.make_inputs(tmp_path_factory.mktemp("inputs") / "in")


@pytest.mark.parametrize(
    ("name", "tries"),
    [(name, 1) for name in QUICK] + [pytest.param(name, TRIES, marks=pytest.mark.full) for name in KILLED],
)
def test_a_rerun_after_a_kill_ends_the_same(sounds, tmp_path, name, tries):
    command = COMMANDS[name]
    children.add_needed(name, sounds)
    whole = tmp_path / "whole"
    whole.mkdir()
    begin = time.monotonic()
    code, said = children.run(command.arguments(sounds, whole))
    length = time.monotonic() - begin
    expected = command.result(whole)
    assert code == 0, said
    assert expected is not None
    rng = random.Random(tries)
    for number in range(tries):
        out = tmp_path / f"run{number}"
        arguments, sent = command.arguments(sounds, out), SIGNALS[number % len(SIGNALS)]
        killed(arguments, out, sent, rng.random() * length)
        assert command.result(out) in (None, expected)
        code, said = children.run([*arguments, *command.again])
        assert (code, command.result(out)) == (0, expected), said


def killed(arguments, out, sent, moment):
    """Run a command until a signal ends it; earlier where it was done before that came."""
    while True:
        out.mkdir()
        code, said = children.run(arguments, kill=(sent, moment))
        if code != 0:
            break
        shutil.rmtree(out)
        moment /= 2
    assert children.stopped(code, sent), said
    assert "Traceback" not in said
    if sent != signal.SIGKILL:
        assert list(out.rglob(".*.tmp")) == []
