from pathlib import Path

import numpy as np
import pytest
import soundfile

import atst
from atst.errors import UsageError
from atst.tasks import load_task


@pytest.fixture
def table(tmp_path: Path) -> Path:
    folder = tmp_path / "sounds"
    folder.mkdir()
    rows = ["path,label,split,start,end"]
    for number, split in enumerate(["train", "train", "valid", "valid", "test", "test"]):
        noise = np.random.default_rng(number).uniform(-0.5, 0.5, 24000)
        soundfile.write(folder / f"{number}.wav", noise, 16000, subtype="PCM_16")
        for start in (0, 0.5):
            rows.append(f"{number}.wav,{'hiss' if number % 2 else 'buzz'},{split},{start},{start + 0.5}")
    (folder / "meta.csv").write_text("\n".join(rows) + "\n")
    return folder / "meta.csv"


def test_the_task_of_a_packed_table_is_that_of_the_table(table, tmp_path):
    atst.pack([table], out=tmp_path / "corpus", quiet=True)
    packed, files = load_task(tmp_path / "corpus"), load_task(table)
    assert packed.names == files.names
    assert packed.label_names == files.label_names
    for field in ("labels", "splits", "segments", "groups"):
        np.testing.assert_array_equal(getattr(packed, field), getattr(files, field))
    for index in range(len(files)):
        np.testing.assert_array_equal(packed.read(index, 0.25), files.read(index, 0.25))
    with pytest.raises(UsageError, match=r"--channel 1: the clips of corpus/index.parquet have one channel"):
        packed.heard(1, False)


def test_several_labels_in_rows_of_their_own(table, tmp_path):
    rows = [line.replace("label", "labels") for line in table.read_text().splitlines()]
    table.write_text("\n".join([*rows, "0.wav,hum,train,0,0.5"]) + "\n")
    atst.pack([table], out=tmp_path / "corpus", quiet=True)
    packed, files = load_task(tmp_path / "corpus"), load_task(table)
    assert packed.multi_label
    np.testing.assert_array_equal(packed.labels, files.labels)


def test_a_corpus_without_labels_is_no_task(table, tmp_path):
    table.unlink()
    atst.pack([table.parent], out=tmp_path / "corpus", quiet=True)
    with pytest.raises(UsageError, match=r"index.parquet has no column 'label'; its columns are: path"):
        load_task(tmp_path / "corpus")


def test_the_probe_of_a_packed_table_is_that_of_the_table(table, tmp_path):
    atst.pack([table], out=tmp_path / "corpus", quiet=True)
    values = [atst.probe(task, model="logmel", quiet=True).value for task in (table, tmp_path / "corpus")]
    assert values[0] == values[1]
