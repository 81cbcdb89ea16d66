from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile

import atst
from atst.errors import AudioError


def test_rows_of_a_packed_corpus_are_those_of_the_files(tmp_path: Path) -> None:
    sounds = tmp_path / "sounds"
    (sounds / "deep").mkdir(parents=True)
    for number, name in enumerate(("deep/a.wav", "b.flac", "long.wav")):
        noise = np.random.default_rng(number).uniform(-0.5, 0.5, 16000 * (1 + 61 * (number == 2)))
        soundfile.write(sounds / name, noise, 16000, subtype="PCM_16")
    whole = (sounds / "b.flac").read_bytes()
    (sounds / "cut.flac").write_bytes(whole[: len(whole) // 2])
    (sounds / "m.csv").write_text("path,start,end\nlong.wav,,\ndeep/a.wav,0.25,0.75\ncut.flac,,\nb.flac,,\n")
    atst.pack([sounds / "m.csv"], out=tmp_path / "corpus", partial=True, quiet=True)
    tables = []
    for source in (sounds / "m.csv", tmp_path / "corpus"):
        atst.embed([source], model="logmel", out=tmp_path / "rows.parquet", partial=True, quiet=True)
        tables.append(pq.read_table(tmp_path / "rows.parquet"))
        with pytest.raises(AudioError, match="3 of 4 recordings done, 1 skipped"):
            atst.embed([source], model="logmel", out=tmp_path / "rows.parquet", quiet=True)
    files, packed = tables
    assert packed["path"].to_pylist() == ["long.wav", "long.wav", "deep/a.wav", "cut.flac", "b.flac"]
    assert [str(sounds / path) for path in packed["path"].to_pylist()] == files["path"].to_pylist()
    for column in ("start", "end", "partial", "embedding"):
        assert packed[column].equals(files[column]), column
