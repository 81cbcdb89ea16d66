"""`atst embed --engine ray`: the rows and the list of errors of the local engine, also when a worker dies."""

import os
import signal
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile

import atst
from atst.commands.embed import _embedded, _load
from atst.errors import AtstError, AudioError, UsageError
from atst.library.ray_engine import Workers

MODEL = "random:nano"


def noise(path: Path, seconds: float, seed: int) -> None:
    soundfile.write(path, np.random.default_rng(seed).normal(0, 0.1, int(16000 * seconds)), 16000)


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """A folder with a long recording and one that is none, a packed corpus, a manifest with a stretch."""
    folder = tmp_path_factory.mktemp("sounds")
    for number in range(24):
        noise(folder / f"{number:02}.wav", 0.3 + number % 3, number)
    noise(folder / "11long.wav", 130, 99)
    (folder / "07bad.wav").write_bytes(b"RIFF no sound")
    packed = tmp_path_factory.mktemp("packed")
    for number in range(3):
        noise(packed / f"{number}.wav", 1, 200 + number)
    atst.pack([packed], out=packed / "corpus", quiet=True)
    manifest = folder / "list.csv"
    manifest.write_text("path,start,end\n11long.wav,5,6\nmissing.wav,,\n")
    return [folder, packed / "corpus", manifest]


@pytest.fixture(scope="module")
def cluster():
    """Two workers on this machine; in the cluster of RAY_ADDRESS if that is set."""
    ray = pytest.importorskip("ray")
    size = {} if "RAY_ADDRESS" in os.environ else {"address": "local", "num_cpus": 2}
    ray.init(log_to_driver=False, logging_level="ERROR", **size)
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import tests
    yield ray
    ray.shutdown()


def embed(sources, out, **options):
    """Rows and list of errors."""
    with pytest.raises(AudioError, match=r"29 of 31 recordings done, 2 skipped"):
        atst.embed(sources, model=MODEL, out=out, **options)
    table = pq.read_table(out)
    return table, out.with_name(f"{out.name}.errors.csv").read_text()


def assert_same(one, other):
    for name in ("path", "start", "end", "partial"):
        assert one[0][name].equals(other[0][name])
    vectors, expected = (np.stack(table["embedding"].to_numpy()) for table, _ in (one, other))
    np.testing.assert_allclose(vectors, expected, atol=1e-5)
    assert one[0].schema.metadata == other[0].schema.metadata
    assert one[1] == other[1]


@pytest.mark.full
@pytest.mark.parametrize("frames", [False, True])
def test_a_worker_that_dies_in_the_middle_loses_nothing_and_gives_nothing_twice(
    cluster, sources, tmp_path, monkeypatch, capfd, frames
):
    expected = embed(sources, tmp_path / "local.parquet", frames=frames)
    died = tmp_path / "died"

    def dies_once(*given, **options):
        for rows in _embedded(*given, **options):
            yield rows
            if rows.reading.recording.path.name == "11long.wav" and not died.exists():
                died.touch()
                os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr("atst.commands.embed._embedded", dies_once)
    given = embed(sources, tmp_path / "ray.parquet", frames=frames, engine="ray", devices=2)
    assert died.exists()
    assert_same(given, expected)
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.full
def test_failures_of_workers_are_one_line_and_the_other_engine_resumes(
    cluster, sources, tmp_path, monkeypatch
):
    options = {"resume": True, "engine": "ray", "window": 0.5}
    expected = embed(sources, tmp_path / "local.parquet", window=0.5)

    def fails(*given, **options):
        for rows in _embedded(*given, **options):
            if rows.reading.recording.path.name == "20.wav":
                raise AtstError("the disk of this worker is full.")
            yield rows

    here = os.getpid()

    def loads_another(model, *given):
        return _load(model if os.getpid() == here else "random:tiny", *given)

    for name, function, line in [
        ("_embedded", fails, r"the disk of this worker is full\."),
        ("_load", loads_another, r"random:tiny: not the same model on \S+ as here\."),
    ]:
        with monkeypatch.context() as patch:
            patch.setattr(f"atst.commands.embed.{name}", function)
            with pytest.raises(AtstError, match=rf"^--engine ray: {line}$"):
                atst.embed(sources, model=MODEL, out=tmp_path / "out.parquet", **options)
    assert not (tmp_path / "out.parquet").exists()
    assert_same(embed(sources, tmp_path / "out.parquet", resume=True, window=0.5), expected)


def test_without_ray_it_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    noise(tmp_path / "a.wav", 1, 0)
    with pytest.raises(UsageError, match=r'^--engine ray needs .*: pip install "atst-audio\[ray\]"\.$'):
        atst.embed([tmp_path], model=MODEL, out=tmp_path / "out.parquet", engine="ray")


def test_workers_are_one_for_each_gpu_or_core_and_no_more():
    def workers(cores, gpus, count=None, device="auto"):
        made = Workers(None, {"CPU": cores, "GPU": gpus}, count, device)
        return made.count, made.on_gpus, made.decoders

    assert workers(32, 4) == (4, True, 8)
    assert workers(32, 4, device="cpu") == (32, False, 1)
    assert workers(6, 0, count=2) == (2, False, 1)
    with pytest.raises(UsageError, match=r"--devices 3: the cluster has 2 cores\."):
        workers(2, 0, count=3)
    with pytest.raises(UsageError, match=r"--devices 3: the cluster has 2 GPUs\."):
        workers(8, 2, count=3)
