"""A command that is killed at a random moment is run again with the same result; a full disk is one line."""

import errno
import os
import random
import signal
import threading
import time

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile

import atst

TUNE = ["batch_size=2", "max_epochs=2", "warmup_epochs=0", "precision=float32", "workers=0"]
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
FULL = pytest.mark.full


@pytest.fixture(scope="module")
def sounds(tmp_path_factory):
    """Twelve recordings, and a table of their labels."""
    folder = tmp_path_factory.mktemp("sounds")
    rows = ["path,label,split"]
    for i in range(12):
        tone = (
            0.2 * np.sin(np.arange(8000) * (0.1 if i % 2 else 0.4)) * np.random.default_rng(i).uniform(0.5, 1)
        )
        soundfile.write(folder / f"{i:02}.wav", tone, 16000)
        rows.append(f"{i:02}.wav,{'ab'[i % 2]},{('train', 'valid', 'test')[i // 2 % 3]}")
    (folder / "meta.csv").write_text("\n".join(rows) + "\n")
    return folder


def embed(sounds, out, again):
    atst.embed([sounds / "meta.csv"], model="logmel", out=out / "x.parquet", resume=True, quiet=True)
    return pq.read_table(out / "x.parquet").to_pydict()


def pack(sounds, out, again):
    atst.pack([sounds / "meta.csv"], out=out / "corpus", resume=again, quiet=True)
    return [file.read_bytes() for file in sorted((out / "corpus").glob("shard*"))]


def probe(sounds, out, again):
    result = atst.probe(sounds / "meta.csv", model="logmel", out=out / "probe", quiet=True)
    return result.value


def finetune(sounds, out, again):
    options = {"model": "random:nano", "overrides": TUNE, "device": "cpu", "quiet": True}
    return atst.finetune(sounds / "meta.csv", out=out / "tuned", resume=again, **options).value


def predict(sounds, out, again):
    if not (out.parent / "probe").exists():
        probe(sounds, out.parent, False)
    atst.predict([sounds / "meta.csv"], model=out.parent / "probe", out=out / "p.csv", quiet=True)
    return (out / "p.csv").read_text()


def killed(work, number, after):
    """The exit status of a process that does this work and gets a signal."""
    child = os.fork()
    if child == 0:
        try:
            signal.signal(signal.SIGTERM, lambda *_: os._exit(143))
            threading.Timer(after, os.kill, (os.getpid(), number)).start()
            work()
        finally:
            os._exit(0)
    return os.waitpid(child, 0)[1]


@pytest.mark.parametrize(
    ("command", "tries"),
    [
        (embed, 1),
        (pack, 1),
        *(pytest.param(command, 9, marks=FULL) for command in (embed, pack, probe, predict, finetune)),
    ],
)
def test_a_rerun_after_a_kill_ends_the_same(sounds, tmp_path, command, tries):
    whole = tmp_path / "whole"
    whole.mkdir()
    begin = time.monotonic()
    expected = command(sounds, whole, False)
    length = time.monotonic() - begin
    rng = random.Random(tries)
    for number in range(tries):
        out = tmp_path / f"run{number}"
        out.mkdir()
        moment = rng.random() * length
        killed(lambda out=out: command(sounds, out, False), SIGNALS[number % 3], moment)
        finished = command is pack and (out / "corpus" / "index.parquet").exists()
        assert command(sounds, out, command in (pack, finetune) or finished) == expected


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS])
def test_a_disk_that_is_full_or_read_only(sounds, tmp_path, monkeypatch, capsys, code):
    """By a stub: what the system says stands in one line, nothing is left and the exit code is 1."""
    from atst.cli import main
    from atst.output import atomic

    def fail(path):
        raise OSError(code, os.strerror(code), str(path))

    monkeypatch.setattr(atomic, "sync", fail)
    with pytest.raises(SystemExit) as stopped:
        main(
            [
                "embed",
                str(sounds / "meta.csv"),
                "--model",
                "logmel",
                "--out",
                str(tmp_path / "x.parquet"),
                "-q",
            ]
        )
    lines = capsys.readouterr().err.strip().splitlines()
    assert stopped.value.code == 1
    assert os.strerror(code) in lines[-1]
    assert "Traceback" not in "".join(lines)
    assert list(tmp_path.iterdir()) == []
