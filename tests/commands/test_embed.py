"""`atst embed`: what stands in the files, in which order, and what happens to bad input."""

import json
import os
import resource
import signal
import subprocess
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile

import atst
from atst import cli
from atst.library import rows as rows_of

MODEL = "random:nano"


@pytest.fixture(scope="module")
def model():
    return atst.load(MODEL)


@pytest.fixture(scope="module")
def sounds(tmp_path_factory):
    """Recordings of 1, 0.3, 7 and 61 s; their names are not in the order of their lengths."""
    folder = tmp_path_factory.mktemp("sounds")
    noise = np.random.default_rng(0)
    for name, seconds in (("a", 1), ("b", 0.3), ("c", 7), ("long", 61)):
        soundfile.write(folder / f"{name}.wav", noise.normal(0, 0.1, int(seconds * 16000)), 16000)
    return folder


def columns(path):
    """The four columns as arrays, and the metadata."""
    if path.suffix == ".npz":
        with np.load(path) as file:
            arrays = dict(file)
        return arrays, json.loads(str(arrays.pop("metadata")))
    table = pq.read_table(path)
    arrays = {name: table[name].to_numpy() for name in ("path", "start", "end")}
    arrays["embedding"] = np.stack(table["embedding"].to_numpy())
    return arrays, json.loads(table.schema.metadata[b"atst"])


@pytest.mark.parametrize("suffix", [".parquet", ".npz"])
def test_rows_are_the_models_embeddings_in_input_order(sounds, model, tmp_path, suffix):
    files = [sounds / f"{name}.wav" for name in "cab"]
    out = tmp_path / "new" / f"out{suffix}"
    atst.embed(files, model=MODEL, out=out, layers=2, batch_size=2)
    rows, about = columns(out)
    assert rows["path"].tolist() == [str(file) for file in files]
    assert rows["start"].tolist() == [0, 0, 0]
    np.testing.assert_allclose(rows["end"], [7, 1, 0.3])
    assert rows["embedding"].dtype == np.float32
    np.testing.assert_allclose(rows["embedding"], model.embed(files, layers=2), atol=1e-5)
    assert about["fingerprint"] == model.fingerprint
    assert (about["model"], about["layers"], about["pooling"]) == (MODEL, 2, "mean")


def test_parquet_schema(sounds, tmp_path):
    atst.embed([sounds / "a.wav"], model=MODEL, out=tmp_path / "out.parquet")
    schema = pq.read_schema(tmp_path / "out.parquet")
    assert [str(field.type) for field in schema] == [
        "string",
        "double",
        "double",
        "bool",
        "fixed_size_list<element: float>[256]",
    ]


def test_a_long_recording_gives_a_row_a_minute(sounds, model, tmp_path):
    atst.embed([sounds / "long.wav", sounds / "a.wav"], model=MODEL, out=tmp_path / "out.npz")
    rows, _ = columns(tmp_path / "out.npz")
    assert rows["start"].tolist() == [0, 60, 0]
    assert rows["end"].tolist() == [60, 61, 1]
    last = soundfile.read(sounds / "long.wav", start=960_000, dtype="float32")[0]
    np.testing.assert_allclose(rows["embedding"][1], model.embed(last, sample_rate=16000), atol=1e-5)


@pytest.mark.parametrize("suffix", [".parquet", ".npz"])
def test_frames(sounds, model, tmp_path, suffix, monkeypatch):
    monkeypatch.setattr("atst.output.table.GROUP_ROWS", 1000)  # several groups
    out = tmp_path / f"out{suffix}"
    atst.embed([sounds / "long.wav", sounds / "a.wav"], model=MODEL, out=out, frames=True, layers=3)
    rows, about = columns(out)
    times, frames = model.embed_frames(sounds / "long.wav", layers=3)
    count = len(times)
    assert rows["path"].tolist() == [str(sounds / "long.wav")] * count + [str(sounds / "a.wav")] * 25
    np.testing.assert_allclose(rows["embedding"][:count], frames, atol=1e-5)
    np.testing.assert_allclose(((rows["start"] + rows["end"]) / 2)[1:1500], times[1:1500])
    assert (rows["start"] >= 0).all()
    np.testing.assert_allclose(np.diff(rows["end"][:1500]), 0.04)
    assert (about["frames"], about["layers"], about["pooling"]) == (True, 3, None)


def test_a_bad_recording_is_left_out_and_listed(sounds, tmp_path, capsys):
    bad = tmp_path / "bad.wav"
    bad.write_bytes(b"not sound")
    arguments = ["embed", str(sounds / "a.wav"), str(bad), str(sounds / "b.wav")]
    with pytest.raises(SystemExit) as exit:
        cli.main([*arguments, "--model", MODEL, "--out", str(tmp_path / "out.npz")])
    assert exit.value.code == 1
    error = capsys.readouterr().err
    assert "2 of 3 recordings done, 1 skipped (1 not audio in a known format)" in error
    assert str(bad) in error
    listed = (tmp_path / "out.npz.errors.csv").read_text().splitlines()
    assert listed == ["path,reason", f"{bad},not audio in a known format"]
    rows, _ = columns(tmp_path / "out.npz")
    assert rows["path"].tolist() == [str(sounds / "a.wav"), str(sounds / "b.wav")]


def test_nothing_readable_leaves_nothing(tmp_path):
    bad = tmp_path / "bad.wav"
    bad.write_bytes(b"not sound")
    with pytest.raises(atst.AudioError, match="none of 1 recordings"):
        atst.embed([bad], model=MODEL, out=tmp_path / "out" / "x.parquet")
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("suffix", [".parquet", ".npz"])
def test_interrupted_work_leaves_the_old_file(sounds, tmp_path, monkeypatch, suffix):
    out = tmp_path / f"out{suffix}"
    out.write_text("old")
    batches = rows_of.batches

    def interrupted(windows, size):
        for number, batch in enumerate(batches(windows, size)):
            if number == 2:
                raise KeyboardInterrupt
            yield batch

    monkeypatch.setattr(rows_of, "batches", interrupted)
    monkeypatch.setattr("atst.output.table.GROUP_ROWS", 1)
    monkeypatch.setattr(rows_of, "TABLE_ROWS", 1)
    with pytest.raises(KeyboardInterrupt):
        atst.embed([sounds / f"{name}.wav" for name in "abc"], model=MODEL, out=out, batch_size=1)
    assert list(tmp_path.iterdir()) == [out]
    assert out.read_text() == "old"


@pytest.mark.parametrize(
    ("changed", "error", "text"),
    [
        ({"out": "x.csv"}, atst.UsageError, r"\.parquet or \.npz"),
        ({"model": "missing/model"}, atst.ModelError, "missing/model"),
        ({"model": "logmel", "frames": True}, atst.UsageError, "logmel has no frame"),
        ({"layers": 99}, atst.UsageError, "layers"),
        ({"batch_size": 0}, atst.UsageError, "batch-size"),
        ({"pooling": "max"}, atst.UsageError, "'max'"),
        ({"window": 61}, atst.UsageError, "--window must be"),
        ({"hop": 1}, atst.UsageError, "--hop needs --window"),
        ({"window": 2, "hop": 3}, atst.UsageError, "--hop must be"),
        ({"window": 2, "frames": True}, atst.UsageError, "--frames a row for each 40 ms"),
        ({"devices": 0}, atst.UsageError, "--devices must be 1 or more"),
        ({"device": "cpu", "devices": 2}, atst.UsageError, "only GPUs share"),
        ({"model": "logmel", "precision": "bf16"}, atst.UsageError, "logmel computes in float32 only"),
    ],
)
def test_what_cannot_be_meant(sounds, tmp_path, changed, error, text):
    options = {"model": MODEL, "out": "x.npz"} | changed
    with pytest.raises(error, match=text):
        atst.embed([sounds / "a.wav"], **options | {"out": tmp_path / options["out"]})
    assert list(tmp_path.iterdir()) == []


def test_layers_are_checked_before_any_recording_is_read(tmp_path):
    (tmp_path / "bad.wav").write_bytes(b"not sound")
    with pytest.raises(atst.UsageError, match=r"--layers\) must be 1 to 4 for a 'nano' encoder, not 99"):
        atst.embed([tmp_path], model=MODEL, out=tmp_path / "x.npz", layers=99)


def test_a_folder_without_audio(tmp_path):
    with pytest.raises(atst.CorpusError, match="no audio"):
        atst.embed([tmp_path], model=MODEL, out=tmp_path / "x.npz")


def test_a_baseline_can_embed_too(sounds, tmp_path):
    atst.embed([sounds / "a.wav"], model="logmel", out=tmp_path / "x.npz")
    rows, about = columns(tmp_path / "x.npz")
    assert rows["embedding"].shape == (1, 128)
    assert about["model"] == "logmel"


@pytest.mark.parametrize("suffix", [".parquet", ".npz"])
def test_names_that_are_not_utf8(sounds, tmp_path, suffix):
    good, bad = (tmp_path / os.fsdecode(name) for name in (b"caf\xe9.wav", b"b\xe4d.wav"))
    try:
        good.write_bytes((sounds / "a.wav").read_bytes())
    except OSError:
        pytest.skip("this file system takes only names in UTF-8")
    bad.write_bytes(b"not sound")
    out = tmp_path / f"out{suffix}"
    command = ["embed", str(tmp_path), "--model", "logmel", "--out", str(out)]
    done = subprocess.run([sys.executable, "-m", "atst", *command], capture_output=True, check=False)
    assert done.returncode == 1
    assert b"1 of 2 recordings done" in done.stderr
    assert b"Traceback" not in done.stderr
    rows, _ = columns(out)
    assert rows["path"].tolist() == [str(tmp_path / "caf\N{REPLACEMENT CHARACTER}.wav")]


@pytest.mark.parametrize("suffix", [".parquet", ".npz"])
def test_a_disk_that_takes_no_more(sounds, tmp_path, suffix):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(atst.AtstError, match=r"out\.\w+: cannot be written: File too large"):
            atst.embed([sounds / "long.wav"], model=MODEL, out=tmp_path / f"out{suffix}", frames=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_ends_all_processes_quietly(sounds, tmp_path):
    code = """
import sys, time
from atst import cli
from atst.sound import pool as pools_of
from atst.library import rows
batches = rows.batches
def slow(windows, size):
    for batch in batches(windows, 1):
        print(*[decoder.process.pid for decoder in pools[0].decoders], flush=True)
        time.sleep(100)
        yield batch
pools, start = [], pools_of.Pool.__init__
def started(pool, most=None):
    pools.append(pool)
    start(pool, most)
pools_of.Pool.__init__, rows.batches = started, slow
cli.main(sys.argv[1:])
"""
    command = ["embed", str(sounds), "--model", "logmel", "--out", str(tmp_path / "x.parquet")]
    process = subprocess.Popen(
        [sys.executable, "-c", code, *command],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    assert process.stdout is not None
    children = [int(pid) for pid in process.stdout.readline().split()]
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert error == "atst: error: interrupted.\n"
    assert list(tmp_path.iterdir()) == []
    for pid in children:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_a_row_a_window(sounds, model, tmp_path):
    atst.embed([sounds / "c.wav", sounds / "b.wav"], model=MODEL, out=tmp_path / "x.npz", window=3, hop=2)
    rows, about = columns(tmp_path / "x.npz")
    assert rows["start"].tolist() == [0, 2, 4, 0]
    assert rows["end"].tolist() == [3, 5, 7, 0.3]
    third = soundfile.read(sounds / "c.wav", start=64_000, dtype="float32")[0]
    np.testing.assert_allclose(rows["embedding"][2], model.embed(third, sample_rate=16000), atol=1e-5)
    assert (about["window"], about["hop"]) == (3, 2)


@pytest.mark.parametrize("name", ["random:nano", "random:conv-nano"])
def test_bfloat16_is_near_float32(sounds, tmp_path, name):
    vectors = {}
    for precision in ("float32", "bf16"):
        out = tmp_path / f"{precision}.npz"
        atst.embed([sounds], model=name, out=out, precision=precision)
        rows, about = columns(out)
        assert about["precision"] == precision
        vectors[precision] = rows["embedding"]
    difference = np.linalg.norm(vectors["bf16"] - vectors["float32"], axis=1)
    share = difference / np.linalg.norm(vectors["float32"], axis=1)
    assert (share < 0.01).all()
    assert (share > 1e-6).all()  # it is another precision
