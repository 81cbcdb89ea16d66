"""Files and folders appear whole or not at all, whatever interrupts."""

import os
from contextlib import suppress
from pathlib import Path

import pytest

from atst.output import atomic
from atst.output.atomic import new_file, new_folder, remove_leftovers


def write(folder: Path, text: str) -> None:
    with new_folder(folder) as temporary:
        (temporary / "text").write_text(text)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture(params=["exchange", "two renames"])
def swap(request, monkeypatch):
    """Both ways to replace a folder: file systems that cannot exchange names take the second."""
    if request.param == "two renames":
        monkeypatch.setattr(atomic, "_exchange", lambda one, other: False)


def test_a_file_is_replaced_when_the_block_succeeds_and_kept_when_it_fails(tmp_path):
    path = tmp_path / "file"
    with new_file(path) as temporary:
        temporary.write_text("first")
    with suppress(KeyboardInterrupt), new_file(path) as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt
    assert path.read_text() == "first"
    assert names(tmp_path) == ["file"]


@pytest.mark.usefixtures("swap")
def test_a_folder_is_replaced_whole(tmp_path):
    write(tmp_path / "model", "old")
    write(tmp_path / "model", "new")
    assert (tmp_path / "model" / "text").read_text() == "new"
    assert names(tmp_path) == ["model"]


@pytest.mark.usefixtures("swap")
@pytest.mark.parametrize("call", range(4))
def test_an_interruption_at_any_rename_leaves_one_complete_folder(tmp_path, monkeypatch, call):
    """Ctrl-C raises between any two calls: here before and after each change of a name."""
    write(tmp_path / "model", "old")
    moments = iter(range(100))

    def interrupted(change):
        def changed(*names):
            if next(moments) == call:
                raise KeyboardInterrupt
            result = change(*names)
            if next(moments) == call:
                raise KeyboardInterrupt
            return result

        return changed

    monkeypatch.setattr(Path, "replace", interrupted(Path.replace))
    monkeypatch.setattr(atomic, "_exchange", interrupted(atomic._exchange))
    with suppress(KeyboardInterrupt):
        write(tmp_path / "model", "new")
    assert (tmp_path / "model" / "text").read_text() in ("old", "new")
    assert names(tmp_path) == ["model"]


def test_what_is_written_is_on_disk_before_it_is_renamed(tmp_path, monkeypatch):
    events = []
    replace, fsync = Path.replace, os.fsync

    def synced(descriptor):
        events.append("sync")
        fsync(descriptor)

    def renamed(path, target):
        events.append("rename")
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", renamed)
    with new_file(tmp_path / "file") as temporary:
        temporary.write_text("text")
    assert events == ["sync", "rename", "sync"]  # the last: the new name itself


def test_leftovers_of_killed_processes_go_and_nothing_else(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / ".step-00000003.ckpt.123.tmp").write_text("half")
    (tmp_path / "checkpoints" / "step-00000002.ckpt").write_text("whole")
    (tmp_path / ".model.123.tmp").mkdir()
    (tmp_path / ".model.123.tmp" / "config.json").write_text("half")
    (tmp_path / ".model.123.old").mkdir()
    write(tmp_path / "model", "whole")
    (tmp_path / ".hidden").write_text("somebody's")
    (tmp_path / "notes.tmp").write_text("somebody's")
    remove_leftovers(tmp_path)
    assert names(tmp_path) == [".hidden", "checkpoints", "model", "notes.tmp"]
    assert names(tmp_path / "checkpoints") == ["step-00000002.ckpt"]


def test_a_folder_moved_aside_by_a_killed_process_comes_back(tmp_path):
    write(tmp_path / "model", "old")
    (tmp_path / "model").rename(tmp_path / ".model.123.old")
    (tmp_path / ".model.123.tmp").mkdir()
    remove_leftovers(tmp_path)
    assert names(tmp_path) == ["model"]
    assert (tmp_path / "model" / "text").read_text() == "old"
