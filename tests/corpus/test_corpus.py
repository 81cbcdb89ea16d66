import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from atst.corpus import open_corpus
from atst.corpus.clips import cut_clips
from atst.errors import AudioError, CorpusError, UsageError

RATE = 16000


def write(path: Path, seconds: float, level: float = 0.3) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = level * np.random.default_rng(len(path.name)).uniform(-1, 1, round(seconds * RATE))
    soundfile.write(
        path, samples.astype(np.float32), RATE, subtype="FLOAT" if path.suffix == ".wav" else None
    )
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "sounds"
    write(root / "b" / "long.wav", 7.3)
    write(root / "a.flac", 2.0)
    write(root / "c.wav", 0.2)
    write(root / ".hidden" / "d.wav", 1.0)
    (root / "notes.md").write_text("not audio")
    (root / "broken.mp3").write_bytes(b"broken" * 1000)
    return root


def test_clips_by_index(folder):
    corpus = open_corpus([folder], clip_seconds=3.0, min_seconds=0.5)
    assert len(corpus) == 4
    np.testing.assert_allclose(corpus.seconds, [2.0, 3.0, 3.0, 1.3])
    assert [Path(corpus.name(i)).name for i in range(4)] == [
        "a.flac",
        "long.wav",
        "long.wav from 3 s",
        "long.wav from 6 s",
    ]
    assert [Path(path).name for path, _ in corpus.skipped] == ["broken.mp3", "c.wav"]
    assert [reason for _, reason in corpus.skipped] == [
        "not audio in a known format",
        "0.20 s is shorter than min_seconds 0.5",
    ]
    everything, _ = soundfile.read(folder / "b" / "long.wav", dtype="float32")
    np.testing.assert_array_equal(np.concatenate([corpus.read(i) for i in (1, 2, 3)]), everything)
    np.testing.assert_array_equal(corpus.read(2, 0.5, 1.0), everything[56000:72000])
    assert len(corpus.read(3, 1.0, 5.0)) == round(0.3 * RATE), "a stretch ends with its clip"
    assert len(corpus.read(1, 2.5, 5.0)) == round(0.5 * RATE)
    with pytest.raises(AudioError, match=r"from 6 s: start 1.5 s is outside its 1.3 s"):
        corpus.read(3, 1.5)


def test_the_last_piece_counts_from_min_seconds_on(folder):
    assert len(open_corpus([folder / "b"], 3.0, 1.4)) == 2
    assert len(open_corpus([folder / "b"], 10.0)) == 1


@given(st.lists(st.floats(0.5, 100), min_size=1, max_size=20), st.floats(0.5, 20), st.floats(0.1, 1))
def test_pieces_cover_each_file_once(lengths, clip, share):
    file, start, seconds = cut_clips(np.array(lengths), clip, share * clip)
    assert (seconds >= share * clip - 1e-9).all()
    assert (seconds <= clip).all()
    for index, length in enumerate(lengths):
        mine = file == index
        np.testing.assert_allclose(start[mine], np.arange(mine.sum()) * clip)
        assert -1e-9 < length - seconds[mine].sum() < share * clip + 1e-9, (
            "only a short last piece is left out"
        )


def test_faults_found_on_reading(folder):
    quiet = write(folder / "z.wav", 1.0, level=0.9e-4)
    faint = write(folder / "y.wav", 1.0, level=2e-4)
    cut = write(folder / "x.wav", 2.0)
    corpus = open_corpus([quiet, faint, cut])
    with pytest.raises(AudioError, match=r"z\.wav: silent"):
        corpus.read(0)
    corpus.read(1)
    cut.write_bytes(cut.read_bytes()[:64000])
    remarks: list[str] = []
    assert len(corpus.read(2, remarks=remarks)) == pytest.approx(16000, abs=100), "there is what there is"
    assert "truncated" in remarks[0]


def test_light_for_workers(tmp_path):
    small = write(tmp_path / "s.wav", 1.0)
    (tmp_path / "many.txt").write_text("\n".join(f"{i:05d}.wav" for i in range(2000)))
    for i in range(2000):
        (tmp_path / f"{i:05d}.wav").hardlink_to(small)
    reports = []
    corpus = open_corpus([tmp_path / "many.txt"], progress=lambda items, *what: reports.append(what) or items)
    assert len(corpus) == 2000
    assert reports == [("reading headers", 2000)]
    assert len(pickle.dumps(corpus)) < 2000 * (len(str(small)) + 50)
    copy = pickle.loads(pickle.dumps(corpus))
    assert copy.name(1234) == str(tmp_path / "01234.wav")
    np.testing.assert_array_equal(copy.read(1999), corpus.read(1999))


def test_a_name_that_is_not_utf8(tmp_path):
    name = os.fsdecode(b"caf\xe9.wav")
    try:
        write(tmp_path / "plain.wav", 1.0).rename(tmp_path / name)
    except OSError:
        pytest.skip("this file system takes only names in UTF-8")
    (tmp_path / "broken.wav").write_bytes(b"broken")
    corpus = open_corpus([tmp_path])
    assert corpus.name(0) == str(tmp_path / name)
    assert len(corpus.read(0)) == 16000


def test_nothing_left(tmp_path):
    (tmp_path / "broken.wav").write_bytes(b"broken")
    with pytest.raises(CorpusError, match=r"none of 1 files can be used: .*broken\.wav: not audio"):
        open_corpus([tmp_path])
    with pytest.raises(CorpusError, match="no audio files in this folder"):
        open_corpus([tmp_path.parent / tmp_path.name / "."] if not (tmp_path / "broken.wav").unlink() else [])
    with pytest.raises(UsageError, match="min_seconds 5"):
        open_corpus([tmp_path], clip_seconds=1.0, min_seconds=5)


def test_missing_files_in_a_manifest_are_skipped_with_a_reason(folder):
    (folder / "m.txt").write_text("a.flac\ngone.wav\n")
    corpus = open_corpus([folder / "m.txt"])
    assert len(corpus) == 1
    assert corpus.skipped == [(str(folder / "gone.wav"), "no such file")]


def test_stretches_of_a_manifest_are_clips_of_their_own(folder):
    (folder / "m.csv").write_text(
        "path,start,end\nb/long.wav,1,2.5\nb/long.wav,6,7.5\nb/long.wav,5,9\na.flac,,\n"
    )
    corpus = open_corpus([folder / "m.csv"], clip_seconds=1.0)
    np.testing.assert_allclose(corpus.seconds, [1.0, 0.5, 1.0, 1.0, 1.0], atol=1e-6)
    assert [Path(corpus.name(i)).name for i in range(3)] == [
        "long.wav from 1 s",
        "long.wav from 2 s",
        "long.wav from 6 s",
    ]
    everything, _ = soundfile.read(folder / "b" / "long.wav", dtype="float32")
    np.testing.assert_array_equal(corpus.read(1), everything[32000:40000])
    [(path, reason)] = corpus.skipped
    assert path.endswith("long.wav")
    assert "m.csv, line 4" in reason


@pytest.mark.parametrize("ending", ["wav", "mp3"])
def test_a_stretch_that_a_table_ends_late_is_cut_and_counted(tmp_path, ending):
    write(tmp_path / "a.wav", 3.0)
    path = tmp_path / f"a.{ending}"
    samples, _ = soundfile.read(tmp_path / "a.wav")
    soundfile.write(path, samples, RATE)
    (tmp_path / "m.csv").write_text("path,start,end\n" + "".join(
        f"a.{ending},{start},{end}\n" for start, end in ((1, 3.5), (0, 3.9), (1, 2), (2, 5), (4, 5), (4, ""))
    ))  # fmt: skip
    corpus = open_corpus([tmp_path / "m.csv"])
    np.testing.assert_allclose(corpus.seconds, [2.0, 3.0, 1.0], atol=0.15)  # MP3 is padded
    there = f"{corpus.seconds[1]:.2f} s"
    assert corpus.cut == [
        (
            f"{path} from 1 s",
            f"read partly: end 3.5 s cut to {there}, where it ends ({tmp_path}/m.csv, line 2)",
        ),
        (str(path), f"read partly: end 3.9 s cut to {there}, where it ends ({tmp_path}/m.csv, line 3)"),
    ]
    assert [file for file, _ in corpus.skipped] == [str(path)] * 3
    for (_, reason), words in zip(corpus.skipped, ("end 5 s", "start 4 s", "start 4 s"), strict=True):
        assert reason.startswith(f"{words} is beyond its end, ")
        assert "m.csv, line" in reason


def test_a_wrong_source_is_a_usage_error(tmp_path):
    with pytest.raises(UsageError, match="nowhere: no such file or folder"):
        open_corpus([tmp_path / "nowhere"])


def test_the_real_corpus(shared_data):
    corpus = open_corpus([shared_data / "pretrain" / "manifest.csv"])
    assert (len(corpus), corpus.skipped) == (11574, [])
    assert corpus.seconds.sum() / 3600 == pytest.approx(10.15, abs=0.01)
    assert len(corpus.read(7)) == round(corpus.seconds[7] * RATE)
