"""`atst embed --resume`: rows are kept in parts, and a later run does what is missing."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile

import atst
from atst.library import parts

MODEL = "logmel"


@pytest.fixture
def sounds(tmp_path):
    """Twelve recordings of half a second."""
    folder = tmp_path / "sounds"
    folder.mkdir()
    for number in range(12):
        write(folder / f"{number:02}.wav", number)
    return folder


def write(path, seed, seconds=0.5):
    noise = np.random.default_rng(seed).normal(0, 0.1, int(seconds * 16000))
    soundfile.write(path, noise, 16000)


def rows(path):
    table = pq.read_table(path)
    names = [name.rpartition("/")[2] for name in table["path"].to_pylist()]
    return names, table["start"].to_pylist(), np.stack(table["embedding"].to_numpy())


def check_as_without(sounds, out, tmp_path, **options):
    atst.embed([sounds], model=MODEL, out=tmp_path / "anew.parquet", **options)
    for one, other in zip(rows(out), rows(tmp_path / "anew.parquet"), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_second_run_does_what_is_missing(sounds, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(parts, "PART_ROWS", 5)
    out = tmp_path / "out.parquet"
    atst.embed([sounds], model=MODEL, out=out, resume=True)
    check_as_without(sounds, out, tmp_path)
    assert sorted(path.name for path in (tmp_path / "out.parquet.parts").iterdir()) == [
        "options.json",
        "part-00000.parquet",
        "part-00001.parquet",
        "part-00002.parquet",
    ]
    (sounds / "03.wav").unlink()
    write(sounds / "07.wav", 99, seconds=0.7)
    write(sounds / "05b.wav", 100)
    (sounds / "bad.wav").write_bytes(b"not sound")
    capsys.readouterr()
    with pytest.raises(atst.AudioError, match="12 of 13 recordings done"):
        atst.embed([sounds], model=MODEL, out=out, resume=True)
    assert "10 of 13 recordings are done already" in capsys.readouterr().err
    (sounds / "bad.wav").unlink()
    check_as_without(sounds, out, tmp_path)
    assert (tmp_path / "out.parquet.errors.csv").exists()
    atst.embed([sounds], model=MODEL, out=out, resume=True)
    assert not (tmp_path / "out.parquet.errors.csv").exists()


@pytest.mark.parametrize("options", [{"frames": True}, {"window": 0.2, "hop": 0.1}])
def test_recordings_of_many_rows_stay_together(sounds, tmp_path, monkeypatch, options):
    monkeypatch.setattr(parts, "PART_ROWS", 7)
    monkeypatch.setattr("atst.output.table.GROUP_ROWS", 3)
    out = tmp_path / "out.parquet"
    model = {"model": "random:nano"}
    atst.embed([sounds / "01.wav", sounds / "00.wav"], out=out, resume=True, **model, **options)
    atst.embed([sounds / f"0{n}.wav" for n in range(3)], out=out, resume=True, **model, **options)
    atst.embed([sounds / f"0{n}.wav" for n in range(3)], out=tmp_path / "anew.parquet", **model, **options)
    names, starts, vectors = rows(out)
    expected = rows(tmp_path / "anew.parquet")
    assert (names, starts) == expected[:2]
    np.testing.assert_allclose(vectors, expected[2], atol=1e-5)


def test_other_options_are_named(sounds, tmp_path):
    out = tmp_path / "out.npz"
    atst.embed([sounds], model=MODEL, out=out, resume=True, window=0.2)
    with pytest.raises(atst.UsageError, match=r"other options \(window 0.2, now 0.4, hop 0.2, now 0.4\)"):
        atst.embed([sounds], model=MODEL, out=out, resume=True, window=0.4)
    with pytest.raises(atst.UsageError, match=r"\(model logmel, now functionals\)"):
        atst.embed([sounds], model="functionals", out=out, resume=True, window=0.2)
    atst.embed([sounds], model=MODEL, out=out, window=0.4)  # without --resume: as ever


def test_a_damaged_part_is_made_anew(sounds, tmp_path, capsys):
    out = tmp_path / "out.parquet"
    atst.embed([sounds], model=MODEL, out=out, resume=True)
    (tmp_path / "out.parquet.parts" / "part-00000.parquet").write_bytes(b"PAR1")
    atst.embed([sounds], model=MODEL, out=out, resume=True)
    assert "part-00000.parquet: damaged; its recordings are embedded again" in capsys.readouterr().err
    check_as_without(sounds, out, tmp_path)


def test_killed_in_the_middle(sounds, tmp_path):
    """Killed when some parts are there, with a stand-in that is slow."""
    out = tmp_path / "out.parquet"
    code = """
import sys, time
from atst import cli
from atst.library import parts, rows
parts.PART_ROWS = 3
batches = rows.batches
def slow(windows, size):
    for batch in batches(windows, 1):
        time.sleep(0.05)
        yield batch
rows.batches = slow
cli.main(sys.argv[1:])
"""
    arguments = ["embed", str(sounds), "--model", MODEL, "--out", str(out), "--resume", "-q"]
    process = subprocess.Popen([sys.executable, "-c", code, *arguments], start_new_session=True)
    while process.poll() is None and not (tmp_path / "out.parquet.parts" / "part-00001.parquet").exists():
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not out.exists()
    kept = list((tmp_path / "out.parquet.parts").glob("part-*.parquet"))
    changed = [part.stat().st_mtime_ns for part in kept]
    atst.embed([sounds], model=MODEL, out=out, resume=True)
    check_as_without(sounds, out, tmp_path)
    assert [part.stat().st_mtime_ns for part in kept] == changed
    assert not list((tmp_path / "out.parquet.parts").glob(".*"))
