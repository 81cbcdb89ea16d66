import numpy as np
import pytest
import soundfile
from tones import SpectrumModel, tone

import atst
from atst.errors import UsageError
from atst.evaluation.features import prepare
from atst.evaluation.linear import linear_probe
from atst.tasks import DATASETS, load_task, task_names
from atst.tasks.listing import read_rows


def table(folder, text, files=("a.wav", "b.wav", "c.wav")):
    for file in files:
        (folder / file).write_bytes(b"")
    (folder / "meta.csv").write_text(text)
    return folder / "meta.csv"


def test_a_table_with_splits(tmp_path):
    task = load_task(
        table(tmp_path, "extra,path,label,split\n1,a.wav,10,train\n2,b.wav,9,valid\n3,c.wav,10,test\n")
    )
    assert task.label_names == ["9", "10"]
    assert task.labels.tolist() == [1, 0, 1]
    assert task.splits.tolist() == ["train", "valid", "test"]
    assert task.folds is None
    assert task.path(0) == tmp_path / "a.wav"
    assert task.metric == "accuracy"


def test_a_table_with_folds(tmp_path):
    task = load_task(table(tmp_path, "path,label,fold\na.wav,x,1\nb.wav,y,2\nc.wav,y,3\n"))
    assert task.folds.tolist() == [1, 2, 3]
    assert task.splits is None


def test_several_labels_in_a_cell_make_it_multi_label(tmp_path):
    task = load_task(table(tmp_path, "path,label,fold\na.wav,x;y,1\nb.wav,y,2\nc.wav, z ;x,2\n"))
    assert task.metric == "mAP"
    np.testing.assert_array_equal(task.labels, [[1, 1, 0], [0, 1, 0], [1, 0, 1]])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,split\na.wav,train\n", "no column 'label'; its columns are: path, split"),
        ("path,label,labels,fold\na.wav,x,x,1\n", "both columns 'label' and 'labels'"),
        (
            "path,label\na.wav,x\nb.wav,y\n",
            "class 'x' has 1 clips; without a column 'split' at least 3 are needed",
        ),
        (
            "path,label,fold\na.wav,x,1\na.wav,y,1\nb.wav,x,2\n",
            "lines 2 and 3: two labels, 'x' and 'y', for a.wav",
        ),
        ("path,labels,fold\na.wav,x,1\nb.wav,x,2\n", "every clip has the label 'x'"),
        ("path,labels,fold\na.wav,,1\nb.wav,,2\n", "has no label"),
        ("path,labels,split\na.wav,x;y,train\nb.wav,,test\n", "no clip of split 'test' has a label"),
        (
            "path,label,split\na.wav,x,training\n",
            "line 2: unknown split 'training'. Valid: train, valid, test",
        ),
        ("path,label,split\na.wav,,train\n", "line 2: empty 'label'"),
        ("path,label,split\na.wav,x\n", "line 2: empty 'split'"),
        ("path,label,fold\na.wav,x,one\nb.wav,y,2\n", "fold 'one' is not an integer"),
        ("path,label,fold\na.wav,x,1\nb.wav,y,1\n", "only one fold"),
        ("path,label,split\na.wav,x,train\nb.wav,x,test\n", "only one label, 'x'"),
        ("path,label,split\na.wav,x,train\nb.wav,y,valid\n", "no clip whose split is 'test'"),
        ("path,label,split\nno.wav,x,train\nb.wav,y,test\n", r"1 of 2 files are missing: .*no\.wav"),
        ("path,label,split\n", "no rows"),
        ("", "its columns are: none"),
    ],
)
def test_what_is_wrong_with_a_table_is_said_in_one_line(tmp_path, text, message):
    with pytest.raises(UsageError, match=message) as error:
        load_task(table(tmp_path, text))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "text",
    [
        "path,label,split\na.wav,caf\xe9,train\nb.wav,y,test\n",
        "path,label,split,\xe9\na.wav,x,train,1\nb.wav,y,test,1\n",
    ],
)
def test_a_table_that_is_not_in_utf8(tmp_path, text):
    path = table(tmp_path, "")
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(UsageError, match=r"meta\.csv is not in UTF-8 .*: save it as UTF-8\.$"):
        load_task(path)
    with pytest.raises(UsageError, match=r"meta\.csv is not in UTF-8 .*: save it as UTF-8\.$"):
        list(read_rows(path, ("path",)))


def test_a_file_in_two_parts_is_refused(tmp_path):
    (tmp_path / "sub").mkdir()
    rows = "a.wav,x,train\nb.wav,y,train\nsub/../a.wav,x,test\nc.wav,y,test\n"
    path = table(tmp_path, f"path,label,split\n{rows}")
    with pytest.raises(UsageError, match=r"1 file is in several splits, .*a\.wav in test and train"):
        load_task(path)
    (tmp_path / "c.wav").unlink()
    (tmp_path / "c.wav").symlink_to("b.wav")
    path.write_text("path,label,fold\na.wav,x,1\na.wav,x,2\nb.wav,y,1\nc.wav,y,2\n")
    with pytest.raises(UsageError, match=r"2 files are in several folds, the first .*a\.wav in 1 and 2"):
        load_task(path)
    path.write_text("path,label,fold\na.wav,x,1\na.wav,x,1\nb.wav,y,1\nc.wav,y,1\nsub/d.wav,y,2\n")
    (tmp_path / "sub" / "d.wav").write_bytes(b"")
    assert len(load_task(path)) == 5


def test_a_table_in_the_working_folder_is_named_after_it(tmp_path, monkeypatch):
    path = table(tmp_path, "path,label,fold\na.wav,x,1\nb.wav,y,2\n")
    monkeypatch.chdir(tmp_path)
    assert load_task(path.name).name == f"{tmp_path.name}/meta.csv"


def test_data_is_refused_beside_a_path(tmp_path):
    path = table(tmp_path, "path,label,fold\na.wav,x,1\nb.wav,y,2\n")
    for task in (path, tmp_path):
        with pytest.raises(UsageError, match=r"--data elsewhere is for registered tasks; .* is a path"):
            load_task(task, "elsewhere")


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(UsageError, match="Did you mean 'esc10'"):
        load_task("esc-10")


def test_a_missing_table_and_a_folder_without_one(tmp_path):
    with pytest.raises(UsageError, match="No such file"):
        load_task(tmp_path / "none.csv")
    with pytest.raises(UsageError, match=r"has no meta\.csv"):
        load_task("esc10", tmp_path)


def test_the_environment_names_the_folder_of_all_tasks(tmp_path, monkeypatch):
    (tmp_path / "esc10").mkdir()
    table(tmp_path / "esc10", "path,label,fold\na.wav,x,1\nb.wav,y,2\nc.wav,y,3\n")
    monkeypatch.setenv("ATST_DATA", str(tmp_path))
    task = load_task("esc10")
    assert task.name == "esc10"
    assert "Piczak" in task.source


def test_the_built_in_task_needs_no_files():
    task = load_task("synthetic")
    assert "synthetic" in task_names()
    assert {"train", "valid", "test"} == set(task.splits)
    for split in ("train", "valid", "test"):
        assert set(task.labels[task.splits == split]) == set(range(len(task.label_names)))
    waveform = task.read(0, 1.0)
    assert waveform.dtype == np.float32
    assert waveform.shape == (16000,)


@pytest.mark.parametrize(
    ("name", "clips", "classes"),
    [
        ("esc10", 400, 10),
        ("fsdd", 3000, 10),
        ("fsdd-speaker", 3000, 6),
        ("fsdd-by-speaker", 3000, 10),
        ("gmnotes", 2064, 11),
        ("gmnotes-pitch", 2064, 12),
    ],
)
def test_registered_tasks_read_the_real_files(shared_data, name, clips, classes):
    task = load_task(name, shared_data / "tasks" / DATASETS[name].folder)
    assert len(task) == clips
    assert len(task.label_names) == classes


def test_a_column_of_labels_allows_none_and_one_class_is_there_or_not(tmp_path):
    rows = "".join(f"{i}.wav,{'owl' if i % 3 == 0 else ''},{i % 2}\n" for i in range(12))
    path = table(tmp_path, f"path,labels,fold\n{rows}", [f"{i}.wav" for i in range(12)])
    task = load_task(path)
    assert task.metric == "mAP"
    assert task.label_names == ["owl"]
    assert task.labels[:, 0].tolist() == [1, 0, 0] * 4
    path.write_text("path,label,fold\na.wav,x;y,1\nb.wav,,1\nc.wav,y,2\n")
    for name in "abc":
        (tmp_path / f"{name}.wav").write_bytes(b"")
    assert load_task(path).labels.tolist() == [[1, 1], [0, 0], [0, 1]]


def test_presence_of_one_class_is_probed_and_fine_tuned(tmp_path):
    rows = []
    for i in range(32):
        soundfile.write(tmp_path / f"{i}.wav", tone(3000 if i % 4 == 0 else 500, i), 16000)
        rows.append(f"{i}.wav,{'owl' if i % 4 == 0 else ''},{('train', 'test')[i // 4 % 2]}\n")
    (tmp_path / "meta.csv").write_text("path,labels,split\n" + "".join(rows))
    task = load_task(tmp_path)
    result = linear_probe(prepare(SpectrumModel(), task, cache=False, device="cpu")).result
    assert (result.metric, result.value) == ("mAP", 1.0)
    assert all(choice.clips["valid"] for choice in result.selected)
    changes = [
        "max_epochs=1",
        "warmup_epochs=0",
        "batch_size=8",
        "epoch_steps=1",
        "workers=0",
        "balanced=True",
    ]
    done = atst.finetune(task, model="random:nano", out=tmp_path / "out", overrides=changes, device="cpu")
    assert 0 < done.value <= 1


CAFE = ("caf\u00e9", "cafe\u0301")  # one character, or a letter and its accent


def test_labels_in_two_normal_forms_are_one_class(tmp_path):
    rows = "".join(f"{i}.wav,{CAFE[i % 2] if i < 4 else 'bar'},{i % 2}\n" for i in range(8))
    path = table(tmp_path, f"path,label,fold\n{rows}", [f"{i}.wav" for i in range(8)])
    assert load_task(path).label_names == ["bar", CAFE[0]]
    for i, name in enumerate([*CAFE, "bar"]):
        for take in range(3):
            (tmp_path / "folders" / name).mkdir(parents=True, exist_ok=True)
            (tmp_path / "folders" / name / f"{i}{take}.wav").write_bytes(b"")
    task = load_task(tmp_path / "folders")
    assert task.label_names == ["bar", CAFE[0]]
    assert len(task) == 9
    assert all(task.path(index).is_file() for index in range(9))


@pytest.mark.parametrize("form", [0, 1])
def test_a_path_is_found_in_the_other_normal_form(tmp_path, form):
    (tmp_path / CAFE[form]).mkdir()
    files = [f"{CAFE[form]}/{CAFE[1 - form]} {i}.wav" for i in range(4)]
    rows = "".join(
        f"{file.replace(CAFE[form], CAFE[1 - form])},{i % 2},{i // 2}\n" for i, file in enumerate(files)
    )
    task = load_task(table(tmp_path, f"path,label,fold\n{rows}", files))
    assert [task.path(index).is_file() for index in range(4)] == [True] * 4
    assert task.names == files


def test_one_file_by_two_labels_is_one_clip_where_there_may_be_several(tmp_path):
    task = load_task(table(tmp_path, "path,labels,fold\na.wav,x,1\na.wav,y,1\nb.wav,x,2\nc.wav,y,2\n"))
    assert task.names == ["a.wav", "b.wav", "c.wav"]
    assert task.labels[0].tolist() == [1, 1]
