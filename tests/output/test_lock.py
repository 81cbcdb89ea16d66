"""The lock of a folder: one process at a time, whatever became of the one before."""

import json
import os
import resource
import subprocess
import sys
import time

import pytest

from atst.errors import TrainingError, UsageError
from atst.output import lock

HOLD = """
import sys, time
from pathlib import Path
from atst.output import lock
with lock.held(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def other(tmp_path):
    """Another process that holds the lock of `tmp_path / "run"`."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, tmp_path / "run"], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def owner(folder):
    return json.loads((folder / lock.NAME).read_text())


def elsewhere(folder, idle):
    """The lock of a process on another machine, touched `idle` seconds ago."""
    folder.mkdir()
    path = folder / lock.NAME
    path.write_text(json.dumps({"host": "node7 pid:[1]", "process": 12, "started": "5"}))
    then = time.time() - idle
    os.utime(path, (then, then))
    return path


def test_a_folder_is_made_held_and_left_as_it_was(tmp_path):
    new, old = tmp_path / "a" / "new", tmp_path / "old"
    old.mkdir()
    (old / "file").touch()
    for folder in (new, old):
        with lock.held(folder):
            assert owner(folder)["process"] == os.getpid()
            assert lock.is_new(folder) == (folder == new)
            lock.check(folder)
    assert not new.exists()
    assert [path.name for path in old.iterdir()] == ["file"]


def test_a_second_process_is_refused_in_one_line_that_names_the_first(tmp_path, other):
    with pytest.raises(TrainingError) as refused, lock.held(tmp_path / "run"):
        pass
    assert f"in use by process {other.pid} on " in str(refused.value)
    assert "\n" not in str(refused.value)
    assert owner(tmp_path / "run")["process"] == other.pid


def test_the_lock_of_a_process_that_was_killed_is_taken_at_once(tmp_path, other, capsys):
    other.kill()
    other.wait()
    with lock.held(tmp_path / "run"):
        assert owner(tmp_path / "run")["process"] == os.getpid()
    assert f"taking over from process {other.pid} on " in capsys.readouterr().err
    assert "which is gone" not in (tmp_path / "run").name
    assert list((tmp_path / "run").iterdir()) == []


def test_a_lock_that_cannot_be_written_is_not_left_for_others_to_wonder_at(tmp_path):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        with pytest.raises(OSError, match="too large"), lock.held(tmp_path / "run"):
            pass
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not (tmp_path / "run").exists()


def test_a_later_process_with_the_same_number_is_not_taken_for_the_owner(tmp_path):
    with lock.held(tmp_path):
        mine = owner(tmp_path)
    (tmp_path / lock.NAME).write_text(json.dumps(mine | {"started": "long ago"}))
    with lock.held(tmp_path):
        assert owner(tmp_path) == mine


@pytest.mark.parametrize("idle", [250, 350])
def test_another_machines_lock_counts_until_it_was_untouched_for_five_minutes(tmp_path, idle, capsys):
    path = elsewhere(tmp_path / "run", idle)
    if idle < 300:
        with pytest.raises(TrainingError, match="in use by process 12 on node7"), lock.held(path.parent):
            pass
        assert owner(path.parent)["process"] == 12
    else:
        with lock.held(path.parent):
            assert owner(path.parent)["process"] == os.getpid()
        assert "process 12 on node7, untouched for 35" in capsys.readouterr().err


def test_a_patient_process_waits_until_the_lock_is_stale_or_touched(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "POLL_SECONDS", 0.05)
    path = elsewhere(tmp_path / "stale", 299.5)
    with lock.held(path.parent, patient=True):
        assert owner(path.parent)["process"] == os.getpid()
    path = elsewhere(tmp_path / "touched", 200)
    monkeypatch.setattr(lock.time, "sleep", lambda seconds: os.utime(path))
    with pytest.raises(TrainingError, match="in use by process 12"), lock.held(path.parent, patient=True):
        pass


def test_the_owner_touches_its_lock(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "TOUCH_SECONDS", 0.02)
    with lock.held(tmp_path):
        path = tmp_path / lock.NAME
        os.utime(path, (1, 1))
        end = time.monotonic() + 20
        while path.stat().st_mtime == 1 and time.monotonic() < end:
            time.sleep(0.01)
        assert path.stat().st_mtime > 1


def test_a_lock_that_was_taken_over_stops_its_first_owner_and_is_left_alone(tmp_path):
    with lock.held(tmp_path):
        other = {"host": "node7", "process": 12, "started": ""}
        (tmp_path / lock.NAME).write_text(json.dumps(other))
        with pytest.raises(TrainingError, match="taken over by process 12 on node7"):
            lock.check(tmp_path)
    assert owner(tmp_path) == other


def test_a_damaged_lock_is_one_of_another_machine(tmp_path):
    (tmp_path / lock.NAME).write_text("{")
    with pytest.raises(TrainingError, match="on unknown"), lock.held(tmp_path):
        pass
    os.utime(tmp_path / lock.NAME, (1, 1))
    with lock.held(tmp_path):
        pass


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="not a folder"), lock.held(tmp_path / "file"):
        pass
