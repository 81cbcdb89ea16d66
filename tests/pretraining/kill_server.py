"""Runs trainings in processes forked from one that has imported everything, and lets them kill themselves.

Reads a job a line, as JSON, from stdin: `sources` and `options` of `atst.pretrain`, and for a kill its
`phase`, which `call` of it, and after how many `seconds` of that SIGKILL comes. Answers with a line: the exit
code, and the seconds that each phase took in a run that was not killed.
"""

import json
import os
import signal
import sys
import threading
import time
import traceback

import torch

from atst.commands.pretrain import pretrain
from atst.model.audio_model import AudioModel
from atst.pretraining import run
from atst.pretraining.module import PretrainingModule
from atst.training.checkpoints import CheckpointFile

PHASES = {
    "training": (PretrainingModule, "training_step"),
    "saving": (CheckpointFile, "save_checkpoint"),
    "exporting": (AudioModel, "save"),
    "reporting": (run, "write_run_report"),
}


def kill(phase, call, seconds):
    """Kill this process so many seconds after a call of a phase begins, or when the call ends before."""
    owner, name = PHASES[phase]
    original, calls = getattr(owner, name), iter(range(1000))

    def killed(*arguments, **options):
        if next(calls) != call:
            return original(*arguments, **options)
        threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGKILL)).start()
        original(*arguments, **options)
        return os.kill(os.getpid(), signal.SIGKILL)

    setattr(owner, name, killed)


def measure(phase, lengths):
    """Note how long the last call of a phase takes."""
    owner, name = PHASES[phase]
    original = getattr(owner, name)

    def timed(*arguments, **options):
        begin = time.monotonic()
        result = original(*arguments, **options)
        lengths[phase] = time.monotonic() - begin
        return result

    setattr(owner, name, timed)


def work(job, answer):
    lengths = {}
    if "phase" in job:
        kill(job["phase"], job["call"], job["seconds"])
    else:
        for phase in PHASES:
            measure(phase, lengths)
    pretrain(job["sources"], **job["options"])
    os.write(answer, json.dumps(lengths).encode())


def main():
    torch.set_num_threads(1)
    for line in sys.stdin:
        given, answer = os.pipe()
        child = os.fork()
        if child == 0:
            code = 1
            try:
                work(json.loads(line), answer)
                code = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)
        os.close(answer)
        _, status = os.waitpid(child, 0)
        lengths = os.read(given, 10_000).decode() or "{}"
        os.close(given)
        print(json.dumps([os.waitstatus_to_exitcode(status), json.loads(lengths)]), flush=True)


if __name__ == "__main__":
    main()
