"""One's own data: class folders, and data sets of Hugging Face (a stand-in, and the real library)."""

import io
import os

import numpy as np
import pytest
import soundfile
from tones import SpectrumModel
from trees import tone

import atst
from atst import cli
from atst.errors import AudioError, UsageError
from atst.evaluation.features import prepare
from atst.evaluation.linear import linear_probe
from atst.tasks import load_task
from atst.tasks.hub import task_from_dataset


def class_folders(folder, each=10, classes=("cat", "dog"), split=""):
    for kind, name in enumerate(classes):
        for take in range(each):
            tone(folder / split / name / f"session {take % 2}" / f"{take}.wav", kind, take)


def test_class_folders_are_divided_by_class_and_it_is_said_how(tmp_path):
    class_folders(tmp_path / "pets")
    task = load_task(tmp_path / "pets")
    assert task.name == "pets/"
    assert task.label_names == ["cat", "dog"]
    for label in (0, 1):
        own = task.splits[task.labels == label].tolist()
        assert {part: own.count(part) for part in ("train", "valid", "test")} == {
            "train": 6,
            "valid": 2,
            "test": 2,
        }
    assert "No split was given" in task.about
    assert "drawn with seed 0: train 12, valid 4, test 4 clips." in task.about
    assert task.splits.tolist() == load_task(str(tmp_path / "pets")).splits.tolist()
    assert linear_probe(prepare(SpectrumModel(), task, cache=False)).result.value == 1.0


def test_class_folders_within_splits_keep_them(tmp_path):
    for split, each in (("train", 4), ("validation", 2), ("test", 3)):
        class_folders(tmp_path, each, split=split)
    task = load_task(tmp_path)
    assert [task.splits.tolist().count(part) for part in ("train", "valid", "test")] == [8, 4, 6]
    assert task.label_names == ["cat", "dog"]
    assert task.source == ""


def test_a_folder_with_a_table_is_read_by_it(tmp_path):
    class_folders(tmp_path, 2)
    rows = "".join(f"{name}/session {i}/{i}.wav,{name},{i}\n" for name in ("cat", "dog") for i in (0, 1))
    (tmp_path / "meta.csv").write_text(f"path,label,fold\n{rows}")
    assert load_task(tmp_path).folds.tolist() == [0, 1, 0, 1]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: None, "neither a meta.csv nor a folder of audio"),
        (lambda folder: class_folders(folder, classes=("cat",)), "only one label, 'cat'"),
        (
            lambda folder: class_folders(folder, each=2),
            "class 'cat' has 2 clips; without a column 'split' at least 3 are needed",
        ),
        (
            lambda folder: [tone(folder / part / "a.wav", 0, 0) for part in ("train", "test")],
            "test/a.wav is not in a class folder",
        ),
    ],
)
def test_folders_that_cannot_be_meant(tmp_path, make, message):
    make(tmp_path)
    with pytest.raises(UsageError, match=message):
        load_task(tmp_path)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (("train", "val"), r"looks like splits \(train, val\) but there is no test folder"),
        (("Test", "dev"), r"splits \(Test, dev\) but there is no train folder"),
        (
            ("train", "test", "extra"),
            r"splits \(test, train\) but extra is not a split; use train/CLASS",
        ),
        (("val",), "no train folder with audio and there is no test folder"),
    ],
)
def test_splits_that_are_not_complete_are_no_classes(tmp_path, parts, message):
    for part in parts:
        class_folders(tmp_path, split=part)
    with pytest.raises(UsageError, match=message):
        load_task(tmp_path)


def test_splits_may_be_capitalised(tmp_path):
    for split in ("Train", "TEST"):
        class_folders(tmp_path, 3, split=split)
    task = load_task(tmp_path)
    assert task.label_names == ["cat", "dog"]
    assert set(task.splits) == {"train", "test"}


def test_files_in_no_class_folder_are_counted(tmp_path, capsys):
    class_folders(tmp_path)
    for take in (0, 1):
        tone(tmp_path / f"{take}.wav", 0, take)
    task = load_task(tmp_path)
    assert len(task) == 20
    assert capsys.readouterr().err == f"{tmp_path}: Left out: 2 audio files outside the class folders.\n"
    assert task.source.endswith("Left out: 2 audio files outside the class folders.")


def test_class_folders_that_are_not_utf8(tmp_path):
    class_folders(tmp_path / "one", classes=("cafe", "dog"))
    class_folders(tmp_path / "two", classes=("cafe", "coffee", "dog"))
    try:
        (tmp_path / "one" / "cafe").rename(tmp_path / "one" / os.fsdecode(b"caf\xe8"))
        (tmp_path / "two" / "cafe").rename(tmp_path / "two" / os.fsdecode(b"caf\xe8"))
        (tmp_path / "two" / "coffee").rename(tmp_path / "two" / os.fsdecode(b"caf\xe9"))
    except OSError:
        pytest.skip("this file system takes only names in UTF-8")
    task = load_task(tmp_path / "one")
    assert task.label_names == ["caf\ufffd", "dog"]
    assert task.read(0).shape == (4000,)
    with pytest.raises(UsageError, match=r"'caf\\udce8' and 'caf\\udce9' are not UTF-8 and look the same"):
        load_task(tmp_path / "two")


class ClassLabel:
    def __init__(self, names):
        self.names = names


class ListOf:
    def __init__(self, feature):
        self.feature = feature


class Rows:
    """What a task needs of `datasets.Dataset`."""

    def __init__(self, columns, features=None):
        self.columns, self.column_names = columns, list(columns)
        self.features = dict.fromkeys(columns) | (features or {})

    def __len__(self):
        return len(self.columns[self.column_names[0]])

    def __getitem__(self, key):
        return self.columns[key] if isinstance(key, str) else {k: v[key] for k, v in self.columns.items()}


def samples(kind, take, rate=16000):
    rng = np.random.default_rng(100 * kind + take)
    wave = 0.3 * np.sin(np.arange(rate // 4) * (0.2 + 0.5 * kind)) + 0.02 * rng.standard_normal(rate // 4)
    return {"array": wave.astype(np.float32), "sampling_rate": rate, "path": None}


def rows(each=5, **columns):
    kinds = [0] * each + [1] * each
    audio = [samples(kind, take) for take, kind in enumerate(kinds)]
    return Rows({"audio": audio, "label": kinds, **columns}, {"label": ClassLabel(["low", "high"])})


def test_a_dictionary_of_splits(tmp_path):
    task = task_from_dataset({"train": rows(), "validation": rows(2), "test": rows(3)}, name="tones")
    assert [task.splits.tolist().count(part) for part in ("train", "valid", "test")] == [10, 4, 6]
    assert task.label_names == ["low", "high"]
    assert task.names[-1] == "test/5"
    result = linear_probe(prepare(SpectrumModel(), task, cache=False)).result
    assert result.value == 1.0


def test_a_ready_task_is_probed(tmp_path):
    task = task_from_dataset({"train": rows(6), "validation": rows(2), "test": rows(3)}, name="tones")
    assert load_task(task) is task
    result = atst.probe(task, model="logmel", out=tmp_path / "out", device="cpu", cache=False)
    assert result.task == "tones"
    assert result.value == 1.0
    with pytest.raises(UsageError, match="--data elsewhere is for registered tasks; tones is ready"):
        atst.probe(task, model="logmel", data="elsewhere")


def test_a_ready_task_is_fine_tuned(tmp_path):
    task = task_from_dataset({"train": rows(6), "validation": rows(2), "test": rows(3)}, name="tones")
    result = atst.finetune(
        task,
        model="random:tiny",
        out=tmp_path,
        overrides=["max_epochs=1", "warmup_epochs=0", "batch_size=4", "epoch_steps=1", "workers=0"],
        device="cpu",
    )
    assert result.task == "tones"


@pytest.mark.parametrize("command", ["probe", "finetune"])
def test_the_command_line_takes_a_task_by_its_name(command, capsys):
    for arguments, said in (
        (["--help"], "A registered task"),
        (["esc-10", "--model", "logmel", "--out", "never"], "Did you mean 'esc10'"),
        (["--model", "logmel", "--out", "never"], "arameter TASK requires an argument"),
    ):
        with pytest.raises(SystemExit):
            cli.main([command, *arguments])
        shown = capsys.readouterr()
        assert said in shown.out + shown.err
        assert "LABEL-NAMES" not in shown.out


def test_a_single_data_set_is_divided_or_has_folds():
    task = task_from_dataset(rows(10))
    assert [task.splits.tolist().count(part) for part in ("train", "valid", "test")] == [12, 4, 4]
    assert "No split was given" in task.about
    task = task_from_dataset(rows(3, fold=[1, 2, 3, 1, 2, 3]), fold="fold")
    assert task.folds.tolist() == [1, 2, 3, 1, 2, 3]
    assert task.source == ""


def test_lists_of_labels_make_it_multi_label():
    made = rows(3)
    made.columns["label"] = [[0], [0], [0, 1], [1], [1], []]
    made.features["label"] = ListOf(ClassLabel(["low", "high"]))
    task = task_from_dataset({"train": made, "test": made})
    assert task.metric == "mAP"
    assert task.labels[:6].tolist() == [[1, 0], [1, 0], [1, 1], [0, 1], [0, 1], [0, 0]]


def test_unlabelled_clips_of_a_single_data_set_are_divided_too():
    made = rows(4)
    made.columns["label"] = [[0]] * 3 + [[]] + [[0, 1]] + [[1]] * 3
    made.features["label"] = ListOf(ClassLabel(["low", "high"]))
    task = task_from_dataset(made)
    assert task.labels[3].tolist() == [0, 0]
    assert {"train", "valid", "test"} == set(task.splits)


def test_names_instead_of_indices():
    made = rows(3)
    made.columns["label"] = ["b"] * 3 + ["a"] * 3
    made.features["label"] = None
    assert task_from_dataset(made).label_names == ["a", "b"]


def test_audio_as_bytes_as_a_path_and_not_as_audio(tmp_path):
    stream = io.BytesIO()
    soundfile.write(stream, np.zeros(8000, np.float32), 8000, format="FLAC")
    tone(tmp_path / "a.wav", 0, 0)
    made = rows(3)
    made.columns["audio"][:3] = [
        {"bytes": stream.getvalue(), "path": "x.flac"},
        {"bytes": None, "path": str(tmp_path / "a.wav")},
        {"bytes": b"no audio", "path": None},
    ]
    task = task_from_dataset(made, name="mine")
    assert task.read(0).shape == (16000,)
    assert task.read(1).shape == (4000,)
    with pytest.raises(AudioError, match="mine clip/2"):
        task.read(2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: task_from_dataset(rows(), label="genre"), "unknown column 'genre'"),
        (lambda: task_from_dataset({"train": rows(), "extra": rows()}), "unknown split 'extra'"),
        (lambda: task_from_dataset({"train": rows(), "valid": rows()}), "no clip whose split is 'test'"),
        (lambda: task_from_dataset({"train": rows(), "test": rows()}, fold="fold"), "single data set"),
        (lambda: task_from_dataset(rows(label=[0, None] * 5)), "row 1 of column 'label' is empty"),
        (
            lambda: task_from_dataset({"train": rows(), "test": rows(2, label=[0, 1, -1, 1])}),
            "split 'test': label -1 of row 2 is not 0 to 1; filter out",
        ),
        (lambda: task_from_dataset(rows(label=[0, 2] * 5)), "label 2 of row 1 is not 0 to 1"),
    ],
)
def test_data_sets_that_cannot_be_meant(call, message):
    with pytest.raises(UsageError, match=message):
        call()


def test_the_real_library(tmp_path):
    datasets = pytest.importorskip("datasets", reason="needs the extra hf")
    paths = [tmp_path / f"{i}.wav" for i in range(10)]
    for i, path in enumerate(paths):
        tone(path, i % 2, i)
    columns = {"audio": [str(path) for path in paths], "label": [0, 1] * 5}
    made = datasets.Dataset.from_dict(columns)  # cast below: to encode as audio it would need torchcodec
    made = made.cast_column("label", datasets.ClassLabel(names=["low", "high"]))
    made = made.cast_column("audio", datasets.Audio())
    task = task_from_dataset(made)
    assert task.read(3).shape == (4000,)
    assert task.label_names == ["low", "high"]
    task = task_from_dataset(datasets.DatasetDict(train=made, test=made))
    assert task.splits.tolist() == ["train"] * 10 + ["test"] * 10
    many = made.add_column("both", [[0], [0, 1]] * 5).cast_column(
        "both", datasets.List(datasets.ClassLabel(names=["low", "high"]))
    )
    assert task_from_dataset(many, label="both").labels[1].tolist() == [1, 1]
