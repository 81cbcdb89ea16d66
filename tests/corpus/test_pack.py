"""Packing: what is in a packed corpus, whatever interrupts, and what is said of a damaged one."""

import io
import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

import atst
from atst.corpus import open_corpus
from atst.corpus.pack import _factor, _quantised
from atst.errors import AudioError, CorpusError, UsageError
from atst.sound import pool
from atst.sound.packed import open_packed

RATE = 16000


def write(path: Path, samples: np.ndarray, rate: int = RATE, subtype: str = "PCM_16") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate, subtype=subtype)
    return path


def noise(seconds: float, level: float = 0.3, channels: int | None = None, rate: int = RATE) -> np.ndarray:
    size = (round(seconds * rate),) if channels is None else (round(seconds * rate), channels)
    return level * np.random.default_rng(round(seconds * 1000)).uniform(-1, 1, size)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "sounds"
    write(root / "b" / "long.wav", noise(7.3))
    write(root / "a.flac", noise(2.0))
    write(root / "b" / "loud.wav", noise(1.0, level=1.7), subtype="FLOAT")
    write(root / "stereo.wav", noise(1.5, channels=2, rate=44100), rate=44100)
    write(root / "é.wav", noise(0.25))
    (root / "broken.mp3").write_bytes(b"broken" * 1000)
    return root


def packed(*sources: Path, out: Path, **options) -> Path:
    """The corpus of these sources, some of which cannot be read."""
    with suppress(AudioError):
        atst.pack(sources, out=out, quiet=True, **options)
    assert open_packed(out) is not None
    return out


def contents(corpus: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in corpus.iterdir()}


def test_a_folder_packed(folder, tmp_path):
    with pytest.raises(
        AudioError, match=r"5 of 6 recordings done, 1 skipped \(1 not audio in a known format\)"
    ):
        atst.pack([folder], out=tmp_path / "corpus")
    corpus = open_packed(tmp_path / "corpus")
    assert corpus.columns(["path", "sample_rate", "start", "end", "remark"]) == {
        "path": ["a.flac", "b/long.wav", "b/loud.wav", "stereo.wav", "é.wav"],
        "sample_rate": [16000, 16000, 16000, 44100, 16000],
        "start": [0.0] * 5,
        "end": [2.0, 7.3, 1.0, 1.5, 0.25],
        "remark": [""] * 5,
    }
    assert (tmp_path / "corpus" / "errors.csv").read_text() == (
        f"path,reason\n{folder / 'broken.mp3'},not audio in a known format\n"
    )
    assert sorted(contents(tmp_path / "corpus")) == ["errors.csv", "index.parquet", "shard-00000.pcm"]
    for row, name in enumerate(("a.flac", "b/long.wav")):
        samples, _ = soundfile.read(folder / name, dtype="float32")
        np.testing.assert_array_equal(corpus.waveform(row), samples)
        np.testing.assert_array_equal(corpus.waveform(row, 100, 50), samples[100:150])


def test_samples_beyond_full_scale_are_scaled(folder, tmp_path):
    corpus = open_packed(packed(folder, out=tmp_path / "corpus"))
    samples, _ = soundfile.read(folder / "b" / "loud.wav", dtype="float32")
    beyond = np.rint(samples * 32768)
    columns = corpus.columns(["beyond", "factor"])
    assert columns["beyond"] == [0, 0, int(((beyond > 32767) | (beyond < -32768)).sum()), 0, 0]
    assert columns["factor"][:2] == [1.0, 1.0]
    assert columns["factor"][2] == pytest.approx(np.abs(samples).max(), rel=1e-4)
    np.testing.assert_allclose(corpus.waveform(2), samples, atol=0.501 * columns["factor"][2] / 32768)


@settings(deadline=None)
@given(st.lists(st.floats(-1e9, 1e9, width=32), min_size=1, max_size=50))
def test_no_sample_is_clipped(values):
    scaled = np.array(values, np.float32)
    factor = (
        _factor(float(scaled.min()), float(scaled.max())) if np.abs(scaled).max() > 32767 else np.float32(1)
    )

    (stored,) = _quantised(io.BytesIO(scaled.tobytes()), factor)
    np.testing.assert_allclose(stored * np.float64(factor), scaled, rtol=3e-7, atol=0.51 * factor)


def test_the_bytes_do_not_depend_on_how_many_decode(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(pool, "cores", lambda: 1)
    one = packed(folder, out=tmp_path / "one")
    monkeypatch.setattr(pool, "cores", lambda: 4)
    assert contents(packed(folder, out=tmp_path / "four")) == contents(one)


KILLED = """
import os, signal, sys
import atst
from atst.corpus import shards
shards.SAVE_SECONDS, shards.SHARD_SAMPLES = float(sys.argv[3]), 50_000
append, count = shards.ShardWriter.append, 0

def append_and_end(self, blocks, samples):
    global count
    count += 1
    place = append(self, blocks, samples)
    self.file.flush()
    if count > int(sys.argv[4]):
        os.kill(os.getpid(), signal.SIGKILL)
    return place

shards.ShardWriter.append = append_and_end
atst.pack([sys.argv[1]], out=sys.argv[2], resume=True, quiet=True)
"""


@pytest.mark.parametrize("save_seconds", [0, 1000], ids=["all-saved", "none-saved"])
def test_killed_and_resumed_it_is_the_same(tmp_path, save_seconds):
    sounds = tmp_path / "sounds"
    for number in range(6):
        write(sounds / f"{number}.wav", noise(1 + number / 10))
    for name, kills in (("whole", []), ("killed", [2, 1])):
        for after in [*kills, 100]:
            arguments = [sounds, tmp_path / name, save_seconds, after]
            run = subprocess.run([sys.executable, "-c", KILLED, *map(str, arguments)], capture_output=True)
            assert run.returncode == (0 if after == 100 else -signal.SIGKILL), run.stderr
    whole = contents(tmp_path / "whole")
    assert contents(tmp_path / "killed") == whole
    assert sorted(whole) == ["index.parquet", "shard-00000.pcm", "shard-00001.pcm", "shard-00002.pcm"]


def test_an_interrupted_packing_goes_on_with_the_same_sources_alone(folder, tmp_path, monkeypatch):
    out = tmp_path / "corpus"
    write(folder / "z.wav", noise(0.5))
    monkeypatch.setattr("atst.corpus.pack._is_beyond", _interrupt_at_the_second())
    with pytest.raises(KeyboardInterrupt, match="--resume continues"):
        atst.pack([folder], out=out, quiet=True)
    monkeypatch.undo()
    with pytest.raises(CorpusError, match=r"its packing has not ended"):
        open_corpus([out])
    with pytest.raises(UsageError, match="not an empty folder; use --resume"):
        atst.pack([folder], out=out)
    with pytest.raises(UsageError, match="channel changed since the packing"):
        atst.pack([folder], out=out, resume=True, channel=0)
    with (out / "unfinished.jsonl").open("ab") as journal:
        journal.write(b'{"path": "torn')
    with (out / "shard-00000.pcm").open("ab") as shard:
        shard.write(b"more than the journal knows")
    packed(folder, out=out, resume=True)
    assert contents(out) == contents(packed(folder, out=tmp_path / "other"))
    atst.pack([folder], out=out, resume=True, quiet=True)  # nothing is left to do
    (folder / "z.wav").unlink()
    assert len(open_packed(out)) == 6


def _interrupt_at_the_second():
    from atst.corpus.pack import _is_beyond

    calls = []

    def interrupt(scaled):
        calls.append(len(scaled))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return _is_beyond(scaled)

    return interrupt


def test_manifests_keep_stretches_and_further_columns(folder, tmp_path):
    (folder / "meta.csv").write_text(
        "path,start,end,label,sample_rate\nb/long.wav,1,2.5,dog,x\na.flac,,,cat,y\nb/long.wav,1,2.5,bird,x\n"
    )
    corpus = open_packed(packed(folder / "meta.csv", out=tmp_path / "corpus"))
    assert corpus.columns(["path", "start", "end", "label", "manifest_sample_rate"]) == {
        "path": ["b/long.wav", "a.flac"],
        "start": [1.0, 0.0],
        "end": [2.5, 2.0],
        "label": ["dog;bird", "cat"],
        "manifest_sample_rate": ["x", "y"],
    }
    samples, _ = soundfile.read(folder / "b" / "long.wav", dtype="float32")
    np.testing.assert_array_equal(corpus.waveform(0), samples[16000:40000])


def test_several_sources_are_named_from_the_folder_that_has_all(folder, tmp_path):
    write(tmp_path / "more" / "a.flac", noise(1.0))
    corpus = open_packed(packed(folder / "a.flac", tmp_path / "more", out=tmp_path / "corpus"))
    assert corpus.paths.to_pylist() == ["sounds/a.flac", "more/a.flac"]


def test_cut_short_recordings_are_packed_where_wanted(tmp_path):
    whole = write(tmp_path / "sounds" / "a.wav", noise(2.0))
    (tmp_path / "sounds" / "cut.wav").write_bytes(whole.read_bytes()[: 44 + RATE])
    assert len(open_packed(packed(tmp_path / "sounds", out=tmp_path / "whole"))) == 1
    atst.pack([tmp_path / "sounds"], out=tmp_path / "both", partial=True, quiet=True)
    corpus = open_packed(tmp_path / "both")
    assert list(corpus.remarks) == [1]
    assert "read partly" in (tmp_path / "both" / "errors.csv").read_text()
    remarks: list[str] = []
    assert len(open_corpus([tmp_path / "both"]).read(1, remarks=remarks)) == RATE // 2
    assert remarks == [corpus.remarks[1]]


def test_the_clips_are_those_of_the_files(folder, tmp_path):
    files = open_corpus([folder], clip_seconds=3.0)
    clips = open_corpus([packed(folder, out=tmp_path / "corpus")], clip_seconds=3.0)
    np.testing.assert_allclose(clips.seconds, files.seconds, atol=1e-4)
    assert [str(folder / clips.name(i)) for i in range(len(clips))] == [
        files.name(i) for i in range(len(files))
    ]
    for index in range(len(files)):
        exact = "stereo" not in files.name(index) and "loud" not in files.name(index)
        args = (index, 0.25, 1.0)
        np.testing.assert_allclose(clips.read(*args), files.read(*args), rtol=0, atol=0 if exact else 3e-5)
    both = open_corpus([folder / "a.flac", tmp_path / "corpus"], clip_seconds=3.0)
    assert len(both) == len(clips) + 1
    np.testing.assert_array_equal(both.read(len(both) - 1), files.read(0))
    with pytest.raises(UsageError, match=r"--channel 1: .* holds the mean of all channels"):
        open_corpus([tmp_path / "corpus"], channel=1)


def test_nothing_to_pack(tmp_path):
    (tmp_path / "a.wav").write_bytes(b"broken")
    with pytest.raises(AudioError, match="none of 1 recordings"):
        atst.pack([tmp_path / "a.wav"], out=tmp_path / "corpus", quiet=True)
    assert not (tmp_path / "corpus").exists()


@pytest.fixture
def small(tmp_path: Path) -> Path:
    return packed(write(tmp_path / "a.wav", noise(1.0)), out=tmp_path / "corpus")


def change(index: Path, **about: object) -> None:
    table = pq.read_table(index)
    before = json.loads(table.schema.metadata[b"atst"])
    pq.write_table(table.replace_schema_metadata({"atst": json.dumps(before | about)}), index)


def test_a_damaged_corpus_is_one_clear_line(small, tmp_path):
    index, shard = small / "index.parquet", small / "shard-00000.pcm"
    kept = index.read_bytes()
    change(index, packed_corpus=2)
    with pytest.raises(
        CorpusError, match=r"a packed corpus of format 2; this version of atst reads format 1"
    ):
        open_corpus([small])
    table = pq.read_table(pa.BufferReader(kept))
    pq.write_table(table.drop_columns("samples"), index)
    with pytest.raises(CorpusError, match="damaged, it has no column 'samples'"):
        open_corpus([small])
    pq.write_table(table.set_column(table.column_names.index("offset"), "offset", pa.array([-5])), index)
    with pytest.raises(CorpusError, match="damaged in row 0"):
        open_corpus([small])
    index.write_bytes(kept[:-100])
    with pytest.raises(CorpusError, match=r"index.parquet: damaged"):
        open_corpus([small])
    index.unlink()
    with pytest.raises(CorpusError, match=r"index.parquet: missing"):
        open_corpus([small])
    index.write_bytes(kept)
    os.truncate(shard, 100)
    with pytest.raises(
        CorpusError, match=r"shard-00000.pcm: 100 bytes, not the 32,000 of the index; copy it"
    ):
        open_corpus([small])
    shard.unlink()
    with pytest.raises(CorpusError, match=r"shard-00000.pcm: missing"):
        open_corpus([small])
    with pytest.raises(UsageError, match="is a packed corpus already"):
        atst.pack([small], out=tmp_path / "again")


def test_another_programs_index_is_not_a_corpus(tmp_path):
    write(tmp_path / "sounds" / "a.wav", noise(1.0))
    pq.write_table(pa.table({"x": [1]}), tmp_path / "sounds" / "index.parquet")
    assert open_packed(tmp_path / "sounds") is None
    assert len(open_corpus([tmp_path / "sounds"])) == 1
