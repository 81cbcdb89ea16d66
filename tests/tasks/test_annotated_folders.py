"""A folder whose labels are in tables of an annotation program is no task yet."""

import numpy as np
import pytest
import soundfile

from atst.errors import UsageError
from atst.tasks import load_task


@pytest.fixture
def folder(tmp_path):
    for label in ("owl", "cat"):
        (tmp_path / label).mkdir()
        for number in range(3):
            soundfile.write(tmp_path / label / f"{label}{number}.wav", np.zeros(4000), 16000)
    return tmp_path


@pytest.mark.parametrize(("name", "text"), [
    ("owl/any.txt", "1.0\t2.0\towl\n"),
    ("owl/owl1.Table.1.selections.txt", "Begin Time (s)\tEnd Time (s)\tSpecies\n"),
    ("tables/owl1.TextGrid", 'File type = "ooTextFile"\nObject class = "TextGrid"\n'),
])  # fmt: skip
def test_tables_of_recordings_come_first(folder, name, text):
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text(text)
    with pytest.raises(UsageError, match=r"atst annotations .*--window") as error:
        load_task(folder)
    assert str(folder / name) in str(error.value)


@pytest.mark.parametrize(("name", "text"), [
    ("owl/readme.txt", "1 owl\n"),
    ("owl/features.csv", "1,2,3\n"),
    ("tables/other.csv", "filename,onset,offset,event_label\n"),
])  # fmt: skip
def test_other_files_are_no_such_tables(folder, name, text):
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text(text)
    assert load_task(folder).label_names == ["cat", "owl"]
