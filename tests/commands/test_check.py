"""`atst check`: what is counted, what is listed, and the exit code."""

import csv

import numpy as np
import pytest
import soundfile

import atst
from atst import cli

RATE = 48000


@pytest.fixture
def folder(tmp_path):
    """Files of 2 s, one for each finding, in a folder."""
    clock = np.arange(2 * RATE) / RATE
    low, high = (0.5 * np.sin(2 * np.pi * hertz * clock) for hertz in (500, 15000))
    folder = tmp_path / "sounds"
    folder.mkdir()
    for name, samples in {
        "low.wav": low,
        "same.flac": low,
        "high.wav": high + 0.1 * low,
        "loud.wav": np.clip(3 * low, -1, 1),
        "silent.wav": low * 1e-5,
        "stereo.wav": np.stack([low * 0.9, -low * 0.9], axis=1),
        "cut.wav": low * 0.7,
    }.items():
        soundfile.write(folder / name, (samples * 32767).astype(np.int16), RATE)
    cut = folder / "cut.wav"
    cut.write_bytes(cut.read_bytes()[:100_000])
    return folder


def counts(files):
    from atst.sound.survey import rows

    return {what: number for what, number, _ in rows(files)}


def test_what_is_found(folder, tmp_path, capsys):
    out = tmp_path / "x.csv"
    files = {path.path.rsplit("/", 1)[-1]: path for path in atst.check([folder], out=out)}
    found = counts(list(files.values()))
    assert found["read"] == 7
    assert (found["48000 Hz"], found["1 channel"], found["2 channels"]) == (7, 6, 1)
    assert [name for name, file in files.items() if file.silent] == ["silent.wav", "stereo.wav"]
    assert [name for name, file in files.items() if file.clipped] == ["loud.wav"]
    assert [name for name, file in files.items() if file.remarks] == ["cut.wav"]
    assert [name for name, file in files.items() if file.high > 0.5] == ["high.wav"]
    assert found["equal contents"] == 4  # two are nothing but zeros
    assert files["low.wav"].seconds == pytest.approx(2)
    assert files["high.wav"].high == pytest.approx(1 / 1.01, abs=0.01)
    printed = capsys.readouterr().out
    assert "unreadable" in printed
    assert "48000 Hz" in printed
    with out.open(newline="") as stream:
        rows = {row["path"].rsplit("/", 1)[-1]: row for row in csv.DictReader(stream)}
    assert rows["loud.wav"]["clipped"] == "true"
    assert rows["low.wav"]["content"] == rows["same.flac"]["content"] != rows["loud.wav"]["content"]
    assert 'cut.wav,"read partly: truncated' in (tmp_path / "x.csv.errors.csv").read_text()


def test_one_channel(folder):
    [file] = atst.check([folder / "stereo.wav"], channel=0)
    assert not file.silent, "the mean of two opposite channels is silent, each of them is not"
    [file] = atst.check([folder / "low.wav"], channel="0")
    assert file.peak == pytest.approx(0.5, abs=1e-3)
    with pytest.raises(atst.UsageError, match="--channel must be"):
        atst.check([folder], channel="left")


def test_what_cannot_be_read_is_exit_code_1(folder, capsys):
    (folder / "bad.wav").write_bytes(b"not sound")
    with pytest.raises(SystemExit) as exit:
        cli.main(["check", str(folder), "--quiet"])
    assert exit.value.code == 1
    printed, error = capsys.readouterr()
    assert "unreadable" in printed
    assert error.startswith(
        "atst: error: 6 of 8 files done, 1 partly, 1 skipped (1 not audio in a known format)"
    )
    assert "bad.wav: not audio" in error
    assert "checking" not in error


def test_embed_says_how_many_lie_above_8_khz(folder, tmp_path, capsys):
    (folder / "cut.wav").unlink()
    atst.embed([folder], model="logmel", out=tmp_path / "x.parquet")
    assert "17% of 6 recordings have most of their energy above 8 kHz" in capsys.readouterr().err
    atst.embed([folder / "low.wav"], model="logmel", out=tmp_path / "x.parquet")
    assert "8 kHz" not in capsys.readouterr().err


def test_embed_one_channel(folder, tmp_path):
    import pyarrow.parquet as pq

    vectors = []
    for channel in ("mean", 0, 1):
        atst.embed([folder / "stereo.wav"], model="logmel", out=tmp_path / "x.parquet", channel=channel)
        vectors.append(np.array(pq.read_table(tmp_path / "x.parquet")["embedding"][0].as_py()))
    assert np.abs(vectors[0] - vectors[1]).max() > 0.1
    np.testing.assert_allclose(vectors[1], vectors[2], atol=1e-3)
    with pytest.raises(atst.AudioError, match="channel"):
        atst.embed([folder / "stereo.wav"], model="logmel", out=tmp_path / "x.parquet", channel=2)


@pytest.mark.parametrize(
    ("names", "code", "read", "message"),
    [
        ([], 1, "", "no audio files in this folder"),
        (["a.wav"], 0, "1", ""),
        (["bad.wav"], 1, "0", "0 of 1 files done, 1 skipped (1 not audio in a known format)"),
        (["a.wav", "b.flac"], 0, "2", ""),
    ],
)
def test_nothing_one_file_one_broken_file(tmp_path, monkeypatch, capsys, names, code, read, message):
    monkeypatch.setenv("COLUMNS", "100")
    for name in names:
        clock = np.arange(RATE) / RATE
        sound = 0.5 * np.sin(2 * np.pi * 500 * clock)
        if name == "bad.wav":
            (tmp_path / name).write_bytes(b"not sound")
        else:
            soundfile.write(tmp_path / name, sound, RATE)
    with pytest.raises(SystemExit) as exit:
        cli.main(["check", str(tmp_path), "-q"])
    assert exit.value.code == code
    printed, error = capsys.readouterr()
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in printed.splitlines() if "│" in line]
    assert [count for what, count, _ in rows if what == "read"] == ([read] if read else [])
    assert max((len(line) for line in printed.splitlines()), default=0) <= 100
    assert message in error
    assert bool(error) == bool(message)


def test_a_wrong_out_is_told_before_anything_is_read(folder, tmp_path, capsys):
    for out, said in [
        (folder, "must end in .csv"),
        (tmp_path / "x.csv", "is a folder"),
        ("x.txt", "end in .csv"),
    ]:
        (tmp_path / "x.csv").mkdir(exist_ok=True)
        with pytest.raises(SystemExit) as exit:
            cli.main(["check", str(folder), "--out", str(out)])
        printed = capsys.readouterr()
        assert (exit.value.code, printed.out) == (2, "")
        assert said in printed.err
