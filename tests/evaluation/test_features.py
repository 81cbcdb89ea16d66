import errno
import multiprocessing
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from tones import SpectrumModel, tone, tone_files, tone_task

import atst
from atst.errors import UsageError
from atst.evaluation import features, store
from atst.evaluation.features import extract
from atst.evaluation.lazy import LazyFeatures
from atst.evaluation.store import Store
from atst.output.cache import cache_folder
from atst.tasks import load_task


def test_features_are_computed_once_for_the_same_audio(tmp_path, monkeypatch):
    monkeypatch.setenv("ATST_CACHE", str(tmp_path / "cache"))
    (tmp_path / "one").mkdir()
    table = tone_files(tmp_path / "one")
    model = SpectrumModel()
    first = extract(model, load_task(table))
    assert model.embedded == 40
    (tmp_path / "one").rename(tmp_path / "elsewhere")
    again = extract(model, load_task(tmp_path / "elsewhere" / "meta.csv"))
    assert model.embedded == 40
    np.testing.assert_array_equal(first.values, again.values)
    soundfile.write(tmp_path / "elsewhere" / "0.wav", tone(900, seed=99), 16000)
    changed = extract(model, load_task(tmp_path / "elsewhere" / "meta.csv"))
    assert model.embedded == 41
    assert not np.array_equal(changed.values[0], first.values[0])
    np.testing.assert_array_equal(changed.values[1:], first.values[1:])


def test_another_model_and_no_cache_compute_again(tmp_path, monkeypatch):
    monkeypatch.setenv("ATST_CACHE", str(tmp_path))
    task = tone_task(20)
    extract(SpectrumModel(), task)
    other = SpectrumModel()
    other.fingerprint = "spectrum-2"
    extract(other, task)
    assert other.embedded == 20
    same = SpectrumModel()
    extract(same, task, cache=False)
    assert same.embedded == 20


@pytest.mark.parametrize(
    ("kind", "torn", "left"),
    [
        ("f32", lambda held: held[:-100], 18),  # 16 values of 4 bytes a clip
        ("f32", lambda held: held + held[:100], 20),
        ("f32", lambda held: b"", 0),
        ("txt", lambda held: held[:-5], 19),
        ("txt", lambda held: held[:33], 1),  # 32 digits and a line end
        ("txt", lambda held: held + held[:10], 20),
        ("txt", lambda held: b"\xff" * 100, 0),
    ],
)
def test_what_a_damaged_cache_still_holds_is_used(tmp_path, monkeypatch, kind, torn, left):
    monkeypatch.setenv("ATST_CACHE", str(tmp_path))
    task, model = tone_task(20), SpectrumModel()
    first = extract(model, task)
    (file,) = tmp_path.rglob(f"*.{kind}")
    file.write_bytes(torn(file.read_bytes()))
    for missing in (20 - left, 0):
        model.embedded = 0
        again = extract(model, task)
        assert model.embedded == missing
        np.testing.assert_array_equal(first.values, again.values)


def test_an_interrupted_extraction_goes_on_where_it_was(tmp_path, monkeypatch):
    monkeypatch.setenv("ATST_CACHE", str(tmp_path))
    monkeypatch.setattr(features, "SHARD", 8)
    task, model = tone_task(60), SpectrumModel()
    embed = model.embed

    def interrupted(sound, **options):
        if model.embedded >= 24:
            raise KeyboardInterrupt
        return embed(sound, **options)

    with monkeypatch.context() as patch:
        patch.setattr(model, "embed", interrupted)
        with pytest.raises(KeyboardInterrupt):
            extract(model, task)
    resumed = extract(model, task)
    assert model.embedded == 60
    np.testing.assert_array_equal(resumed.values, extract(SpectrumModel(), task, cache=False).values)


@pytest.mark.parametrize("on_disk", [False, True])
def test_a_cache_that_cannot_be_written_is_done_without(tmp_path, monkeypatch, capsys, on_disk):
    if on_disk:
        monkeypatch.setattr(store, "IN_MEMORY", 0)
    monkeypatch.setattr(features, "SHARD", 8)
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("ATST_CACHE", str(tmp_path / "file" / "below"))  # even root cannot write there
    task = tone_task(20)
    found = extract(SpectrumModel(), task)
    expected = extract(SpectrumModel(), task, cache=False).values
    np.testing.assert_array_equal(found.values[:], expected)
    said = [line for line in capsys.readouterr().err.splitlines() if "cannot be kept" in line]
    assert len(said) == 1
    assert "below" in said[0]
    assert "ATST_CACHE names another folder" in said[0]


def test_a_cache_that_fills_its_disk_keeps_what_it_has(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("ATST_CACHE", str(tmp_path))
    monkeypatch.setattr(features, "SHARD", 8)
    task, write = tone_task(20), Store._write

    def full(self, keys, vectors):
        if self.count and tmp_path in self.folder.parents:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(self, keys, vectors)

    monkeypatch.setattr(Store, "_write", full)
    found = extract(SpectrumModel(), task)
    np.testing.assert_array_equal(found.values, extract(SpectrumModel(), task, cache=False).values)
    assert "No space left on device" in capsys.readouterr().err
    model = SpectrumModel()
    extract(model, task)
    assert model.embedded == 12, "the first 8 were kept"


def test_processes_that_extract_at_once_leave_a_whole_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ATST_CACHE", str(tmp_path))
    monkeypatch.setattr(features, "SHARD", 4)
    task = tone_task(60)
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=extract, args=(SpectrumModel(), task)) for _ in range(2)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
        assert writer.exitcode == 0
    model = SpectrumModel()
    found = extract(model, task)
    assert model.embedded == 0
    np.testing.assert_array_equal(found.values, extract(model, task, cache=False).values)


def test_long_clips_are_cut_to_their_middle_12_seconds(tmp_path):
    waveform = np.zeros(16 * 16000, dtype=np.float32)
    waveform[2 * 16000 : 14 * 16000] = tone(440, 0, 12.0)
    soundfile.write(tmp_path / "long.wav", waveform, 16000, subtype="FLOAT")
    soundfile.write(tmp_path / "short.wav", waveform[:8000] + 0.1, 16000, subtype="FLOAT")
    (tmp_path / "meta.csv").write_text("path,label,split\nlong.wav,a,train\nshort.wav,b,test\n")
    task = load_task(tmp_path / "meta.csv")
    np.testing.assert_allclose(task.read(0, 12.0), waveform[2 * 16000 : 14 * 16000], atol=1e-6)
    assert len(task.read(1, 12.0)) == 8000


def test_large_features_are_gathered_by_rows(tmp_path, monkeypatch):
    monkeypatch.setenv("ATST_CACHE", str(tmp_path))
    task = tone_task(40)
    whole = extract(SpectrumModel(), task).values
    monkeypatch.setattr(store, "IN_MEMORY", whole.nbytes - 1)
    kept = extract(SpectrumModel(), task).values
    assert isinstance(kept, LazyFeatures)
    assert kept.shape == whole.shape
    mask = np.arange(40) % 3 == 0
    for rows in ([5, 2, 5, 39], np.array([], int), mask, slice(None)):
        np.testing.assert_array_equal(kept[rows], whole[rows])


def test_the_cache_is_the_users_own_folder_and_a_user_without_one_is_told(tmp_path, monkeypatch):
    monkeypatch.delenv("ATST_CACHE", raising=False)
    monkeypatch.setattr("platformdirs.user_cache_path", lambda name: tmp_path / name)
    assert cache_folder() == tmp_path / "atst"
    monkeypatch.setattr("platformdirs.user_cache_path", lambda name: Path("~nobody-of-that-name/.cache"))
    with pytest.raises(UsageError, match=r"no home folder: set ATST_CACHE"):
        cache_folder()


def test_features_by_several_threads_are_those_of_one(monkeypatch):
    monkeypatch.setattr(features, "BATCH", 6)
    task, model, threads = tone_task(20), atst.load("random:nano"), torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = extract(model, task, cache=False)
        torch.set_num_threads(2)
        shared = extract(model, task, cache=False)
    finally:
        torch.set_num_threads(threads)
    np.testing.assert_array_equal(alone.rows, shared.rows)
    np.testing.assert_allclose(alone.values, shared.values, rtol=1e-5, atol=1e-5)


def test_devices_that_share_the_clips_are_gpus():
    with pytest.raises(UsageError, match="--devices 2: only GPUs"):
        atst.probe(tone_task(20), model="random:nano", device="cpu", devices=2, quiet=True)
    with pytest.raises(UsageError, match="--devices must be 1 or more, not 0"):
        atst.probe(tone_task(20), model="random:nano", devices=0, quiet=True)
