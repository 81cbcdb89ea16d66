import resource
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import soundfile
from tones import SpectrumModel, tone, tone_files, tone_task

from atst.evaluation.features import Store, extract
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


def test_a_damaged_cache_is_computed_again(tmp_path, monkeypatch):
    monkeypatch.setenv("ATST_CACHE", str(tmp_path))
    task, model = tone_task(20), SpectrumModel()
    first = extract(model, task)
    for shard in tmp_path.rglob("*.npy"):
        shard.write_bytes(shard.read_bytes()[:100])
    again = extract(model, task)
    assert model.embedded == 40
    np.testing.assert_array_equal(first.values, again.values)


def test_two_writers_add_to_one_store(tmp_path):
    model = SpectrumModel()
    one, other = Store(model, tmp_path), Store(model, tmp_path)
    one.add({"a": np.zeros(3, np.float32)})
    other.add({"b": np.ones(3, np.float32)})
    both = Store(model, tmp_path)
    assert both.get("a").tolist() == [0, 0, 0]
    assert both.get("b").tolist() == [1, 1, 1]
    assert both.get("c") is None


def test_long_clips_are_cut_to_their_middle_12_seconds(tmp_path):
    waveform = np.zeros(16 * 16000, dtype=np.float32)
    waveform[2 * 16000 : 14 * 16000] = tone(440, 0, 12.0)
    soundfile.write(tmp_path / "long.wav", waveform, 16000, subtype="FLOAT")
    soundfile.write(tmp_path / "short.wav", waveform[:8000] + 0.1, 16000, subtype="FLOAT")
    (tmp_path / "meta.csv").write_text("path,label,split\nlong.wav,a,train\nshort.wav,b,test\n")
    task = load_task(tmp_path / "meta.csv")
    np.testing.assert_allclose(task.read(0, 12.0), waveform[2 * 16000 : 14 * 16000], atol=1e-6)
    assert len(task.read(1, 12.0)) == 8000


def test_a_cache_of_many_shards_needs_few_open_files(tmp_path):
    model = SimpleNamespace(fingerprint="many", depth=1)
    store = Store(model, tmp_path)
    for number in range(80):
        store.add({f"key{number}": np.full(4, number, np.float32)})
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(list(Path("/dev/fd").iterdir())) + 30, limits[1]))
    try:
        again = Store(model, tmp_path)
        values = [again.get(f"key{number}") for number in range(80)]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert [None if value is None else value[0] for value in values] == list(range(80))
