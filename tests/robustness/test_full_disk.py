"""A disk that is full or read-only: one line, exit code 1, nothing half-written, and a rerun completes."""

import errno
import os
import resource
import shutil
import subprocess

import children
import pytest
from children import COMMANDS

BLOCK = 4096  # bytes, what a small file takes
LIMITS = 4  # on the size of a file, and 0
SIZE = 64 << 20  # bytes of a small disk
FULL = pytest.mark.full
WRITING = [pytest.param(name, marks=FULL) for name in COMMANDS]
QUICK = ("embed --resume", "pack")


@pytest.fixture(scope="module")
def sounds(tmp_path_factory):
    return children.make_inputs(tmp_path_factory.mktemp("inputs") / "in")


@pytest.fixture
def disk(tmp_path):
    """Makes a small disk: `disk(options)` mounts it or changes it."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(options):
        command = ["mount", "-t", "tmpfs", "-o", options, "none", folder]
        return folder if subprocess.run(command, check=False, capture_output=True).returncode == 0 else None

    if mount("size=1m") is None:
        pytest.skip("needs the right to mount")
    yield mount
    subprocess.run(["umount", folder], check=True)


def whole(name, sounds, out):
    """What a command makes of an empty folder, and the sizes of the files in it."""
    children.add_needed(name, sounds)
    out.mkdir()
    code, said = children.run(COMMANDS[name].arguments(sounds, out))
    assert code == 0, said
    return COMMANDS[name].result(out), {f.stat().st_size for f in out.rglob("*") if f.is_file()}


def assert_one_line(code, said, *reasons):
    assert code == 1, said
    assert "Traceback" not in said
    assert any(line.startswith("atst: error: ") for line in said.splitlines())  # a list may follow
    assert any(os.strerror(reason) in said for reason in reasons), said


def assert_done(name, sounds, out, expected, already=False):
    again = COMMANDS[name].again if already else ()
    code, said = children.run([*COMMANDS[name].arguments(sounds, out), *again])
    assert (code, COMMANDS[name].result(out)) == (0, expected), said


def refused(name, sounds, out, limit, *whole):
    """A run whose files may not grow beyond `limit` bytes: there is no result, or what it is `whole`."""
    out.mkdir()
    both = limit, resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    code, said = children.run(
        COMMANDS[name].arguments(sounds, out), lambda: resource.setrlimit(resource.RLIMIT_FSIZE, both)
    )
    assert_one_line(code, said, errno.EFBIG)
    assert COMMANDS[name].result(out) in (None, *whole)


@pytest.mark.parametrize("name", QUICK)
def test_a_file_that_cannot_grow(sounds, tmp_path, name):
    refused(name, sounds, tmp_path / "out", 3000)


@pytest.mark.parametrize("name", WRITING)
def test_files_that_cannot_grow(sounds, tmp_path, name):
    expected, sizes = whole(name, sounds, tmp_path / "whole")
    limits = sorted({size - 1 for size in sizes if size})
    for limit in [0, *limits[:: -(-len(limits) // LIMITS)]]:
        out = tmp_path / str(limit)
        refused(name, sounds, out, limit, expected)
        assert list(out.rglob(".*.tmp")) == []
        assert_done(name, sounds, out, expected, already=True)


@pytest.mark.parametrize("name", WRITING)
def test_a_disk_that_is_full_or_read_only(sounds, tmp_path, disk, name):
    expected, sizes = whole(name, sounds, tmp_path / "whole")
    needed = sum(-(-size // BLOCK) * BLOCK for size in sizes)
    for reason in (errno.ENOSPC, errno.EROFS):
        folder = disk(f"remount,rw,size={SIZE}")
        out, filler = folder / "out", folder / "filler"
        out.mkdir()
        if reason == errno.ENOSPC:
            with filler.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, SIZE - needed // BLOCK // 2 * BLOCK)
        else:
            disk("remount,ro")
        code, said = children.run(COMMANDS[name].arguments(sounds, out))
        assert_one_line(code, said, reason)
        assert COMMANDS[name].result(out) is None
        disk("remount,rw")
        filler.unlink(missing_ok=True)
        assert_done(name, sounds, out, expected, already=True)
        shutil.rmtree(out)


@pytest.mark.parametrize(
    "name",
    [name if name.startswith(("embed", "pack")) else pytest.param(name, marks=FULL) for name in COMMANDS],
)
def test_a_folder_that_cannot_be(sounds, tmp_path, name):
    """Its parent is a file, which refuses it to every user."""
    children.add_needed(name, sounds)
    (tmp_path / "file").touch()
    code, said = children.run(COMMANDS[name].arguments(sounds, tmp_path / "file"))
    assert_one_line(code, said, errno.ENOTDIR, errno.EEXIST)
