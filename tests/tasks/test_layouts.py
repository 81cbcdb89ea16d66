"""Every registered task, read from a miniature of its official files."""

import dataclasses
import shutil
from collections import Counter

import numpy as np
import pytest
from tones import SpectrumModel, tone, tone_task
from trees import TREES

from atst.errors import AtstError, AudioError, UsageError
from atst.evaluation.features import extract, prepare
from atst.evaluation.linear import linear_probe
from atst.scoring.clips import task_fingerprint
from atst.scoring.splits import FewShot, make_splits, train_test_splits
from atst.tasks import DATASETS, load_task, published
from atst.tasks.check import check_task

THIRDS = {"train": 8, "valid": 8, "test": 8}
# task -> clips by part, the first classes in order, files without a label
EXPECTED = {
    "audioset20k": ({"train": 8, "test": 8}, ["Speech", "Male speech, man speaking", "Keys jangling"], 8),
    "audioset2m": ({"train": 16, "test": 8}, ["Speech", "Male speech, man speaking", "Keys jangling"], 0),
    "us8k": (dict.fromkeys(range(1, 11), 4), ["dog_bark", "siren"], 0),
    "esc50": (dict.fromkeys(range(1, 6), 12), ["dog", "pig", "rooster"], 0),
    "esc10": (dict.fromkeys(range(1, 6), 8), ["dog", "rooster"], 20),
    "fsd50k": (THIRDS, ["Accelerating_and_revving_and_vroom", "Bark"], 0),
    "spcv2": (THIRDS, ["backward", "bed"], 1),
    "voxceleb1": (THIRDS, ["id10001", "id10002"], 0),
    "crema-d": (THIRDS, ["anger", "disgust", "fear", "happy", "neutral", "sad"], 0),
    "fsdd": (THIRDS, ["0", "7"], 0),
    "fsdd-speaker": (THIRDS, ["george", "jackson"], 0),
    "fsdd-by-speaker": ({1: 12, 2: 12}, ["0", "7"], 0),
    "nsynth": (THIRDS, ["bass", "brass", "flute", "guitar", "keyboard"], 0),
    "nsynth-pitch": (THIRDS, ["60", "64"], 0),
    "gtzan": (THIRDS, ["blues", "classical", "country"], 1),
}


@pytest.fixture(params=TREES)
def name(request):
    return request.param


def test_every_published_data_set_has_a_miniature():
    assert {name for name, known in DATASETS.items() if known.read} == set(TREES) == set(EXPECTED)


def test_the_official_files_become_a_task_that_can_be_probed(name, tmp_path):
    TREES[name](tmp_path)
    task = load_task(name, tmp_path)
    parts, classes, _ = EXPECTED[name]
    assert Counter((task.splits if task.folds is None else task.folds).tolist()) == parts
    assert task.label_names[: len(classes)] == classes
    assert task.metric == DATASETS[name].metric
    assert task.learning_rates == DATASETS[name].learning_rates
    assert task.missing == ()
    assert all(task.path(index).is_file() for index in range(len(task)))
    if name in ("audioset2m", "esc10", "nsynth-pitch"):
        return  # read by the same function as another one
    if name == "fsdd-by-speaker":
        return  # in the miniature each speaker has tones of its own
    result = linear_probe(prepare(SpectrumModel(), task, cache=False)).result
    assert not result.skipped
    # The published grids are for big data; a task of four clips a class can only be shown to learn.
    assert result.value > 0.6, "the tones tell the classes: labels and files belong together"


def test_a_download_is_compared_with_what_is_published(name, tmp_path, monkeypatch):
    TREES[name](tmp_path)
    found = check_task(name, tmp_path)
    assert not found.complete
    assert f"{DATASETS[name].total - sum(found.found.values())} clips are missing" in found.verdict()
    assert DATASETS[name].get in found.verdict()
    assert len(found.spare) == EXPECTED[name][2]
    monkeypatch.setitem(
        DATASETS, name, dataclasses.replace(DATASETS[name], clips=found.found, classes=found.classes[0])
    )
    found = check_task(name, tmp_path)
    assert found.complete
    assert found.verdict() == f"{name} is complete."
    lost = load_task(name, tmp_path).path(0)
    lost.unlink()
    found = check_task(name, tmp_path)
    assert not found.complete
    assert "1 clip is missing" in found.verdict()


def test_labels_without_files_are_an_error_that_counts_them(name, tmp_path):
    TREES[name](tmp_path)
    task = load_task(name, tmp_path)
    index = 0 if task.splits is None else task.splits.tolist().index("train")
    task.path(index).unlink()
    if DATASETS[name].vanishing:
        assert len(load_task(name, tmp_path)) == len(task) - 1
        assert len(load_task(name, tmp_path).missing) == 1
    elif name in (
        "spcv2",
        "crema-d",
        "fsdd",
        "fsdd-speaker",
        "fsdd-by-speaker",
    ):  # the files themselves are the list
        assert len(load_task(name, tmp_path)) == len(task) - 1
    else:
        with pytest.raises(
            UsageError, match=f"1 of {len(task)} clips have no file .*atst tasks check {name}"
        ):
            load_task(name, tmp_path)


def test_without_metadata_it_is_said_what_is_not_there(name, tmp_path):
    with pytest.raises(UsageError, match=r"has no meta.*\.csv \(official layout: no ") as error:
        load_task(name, tmp_path)
    assert DATASETS[name].lacks(tmp_path)[0] in str(error.value)
    assert DATASETS[name].get in str(error.value)
    with pytest.raises(AtstError, match="official layout") as error:
        check_task(name, tmp_path)
    assert error.value.exit_code == 1


@pytest.mark.parametrize(
    ("name", "inside", "clips"),
    [
        ("esc50", "ESC-50-master", 60),
        ("fsdd", "free-spoken-digit-dataset-1.0.10", 24),
        ("crema-d", "CREMA-D-master", 24),
        ("us8k", "my copy", 40),
    ],
)
def test_the_folder_that_an_archive_unpacks_to_is_looked_into_whatever_its_name(
    tmp_path, name, inside, clips
):
    (tmp_path / inside).mkdir()
    TREES[name](tmp_path / inside)
    (tmp_path / "archives").mkdir()
    assert len(load_task(name, tmp_path)) == clips
    assert check_task(name, tmp_path).folder == tmp_path / inside
    shutil.copytree(tmp_path / inside, tmp_path / "a second one")
    with pytest.raises(
        UsageError, match=f"holds several copies, in .*{inside}.*; give one of them as --data"
    ):
        load_task(name, tmp_path)


def test_urbansound8k_with_its_folds_beside_the_table(tmp_path):
    TREES["us8k"](tmp_path)
    official = load_task("us8k", tmp_path)
    for path in [*(tmp_path / "audio").iterdir(), *(tmp_path / "metadata").iterdir()]:
        path.rename(tmp_path / path.name)
    task = load_task("us8k", tmp_path)
    assert task.folds.tolist() == official.folds.tolist()
    assert [f"audio/{name}" for name in task.names] == official.names
    found = check_task("us8k", tmp_path)
    assert (found.layout, found.missing, found.spare) == ("UrbanSound8K.csv", [], [])


def test_esc10_from_a_table_that_a_spreadsheet_saved(tmp_path):
    TREES["esc10"](tmp_path)
    official = load_task("esc10", tmp_path).names
    table = tmp_path / "meta" / "esc50.csv"
    text = table.read_text().replace("True", "TRUE").replace("False", "FALSE")
    table.write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    assert load_task("esc10", tmp_path).names == official


def test_a_prepared_table_comes_first(tmp_path):
    TREES["esc50"](tmp_path)
    (tmp_path / "meta.csv").write_text(
        "path,label,fold\n"
        + "".join(f"audio/{n}-100032-A-{n % 2}.wav,{'xy'[n % 2]},{n}\n" for n in range(1, 4))
    )
    assert load_task("esc50", tmp_path).label_names == ["x", "y"]
    assert check_task("esc50", tmp_path).layout == "meta.csv"


def test_a_pointer_of_git_lfs_is_no_audio(tmp_path):
    TREES["crema-d"](tmp_path)
    (tmp_path / "AudioWAV" / "1001_IEO_ANG_XX.wav").write_text("version https://git-lfs.github.com/spec/v1\n")
    found = check_task("crema-d", tmp_path)
    assert found.tiny == ["AudioWAV/1001_IEO_ANG_XX.wav"]
    assert any("git-lfs" in line for line in found.lines())


@pytest.mark.parametrize(
    ("name", "file", "text", "message"),
    [
        ("us8k", "metadata/UrbanSound8K.csv", "slice_file_name,class\n", "no column 'fold'"),
        ("voxceleb1", "iden_split.txt", "4 id1/a/1.wav\n", "invalid line '4 id1/a/1.wav'"),
        ("nsynth", "nsynth-test/examples.json", "[]", "is not NSynth's"),
        ("nsynth", "nsynth-test/examples.json", '{"a": {"pitch": 1}}', "KeyError 'instrument_family_str'"),
        ("audioset20k", "eval_segments.csv", "abc, 1, 2\n", "expected YTID"),
        ("audioset20k", "eval_segments.csv", 'abc, 1, 2, "/m/0"\n', "class '/m/0' is not in"),
        ("gtzan", "test_filtered.txt", "polka/polka.00001.wav\n", "polka"),
        ("fsd50k", "FSD50K.ground_truth/vocabulary.csv", "0,Bark,/m/0\n1,Meow,/m/1\n", "is not one of its 2"),
    ],
)
def test_metadata_of_another_form_are_refused(tmp_path, name, file, text, message):
    TREES[name](tmp_path)
    (tmp_path / file).write_text(text)
    with pytest.raises(UsageError, match=message):
        load_task(name, tmp_path)


def test_a_youtube_id_that_begins_with_y_is_not_taken_for_a_prefix(tmp_path):
    TREES["audioset20k"](tmp_path)
    task = load_task("audioset20k", tmp_path)
    first = task.path(0)
    other = first.with_name("Yabcdefghij.wav")  # an id of its own
    first.rename(other)
    table = tmp_path / "balanced_train_segments.csv"
    table.write_text(table.read_text() + 'Yabcdefghij, 0.000, 10.000, "/m/09x0r"\n')
    assert "balanced_train/Yabcdefghij.wav" in load_task("audioset20k", tmp_path).names
    shutil.move(other, other.with_name("YYabcdefghij.wav"))
    assert "balanced_train/YYabcdefghij.wav" in load_task("audioset20k", tmp_path).names


def test_published_figures_belong_to_tasks_and_are_those_of_the_paper():
    figures = published()
    assert {figure.task for figure in figures} <= set(DATASETS)
    assert [f.value for f in published("us8k") if f.model == "ATST base"] == [85.8]
    assert published("esc10") == []
    assert {(f.model, f.generation) for f in figures if f.generation != "unknown"} == {
        ("ATST base", "2022"),
        ("ATST-Clip", "2023"),
        ("ATST-Frame", "2023"),
        ("ATST-C2F", "2023"),
    }


def test_linked_folders_are_followed_and_a_circle_ends(tmp_path):
    elsewhere = tmp_path / "disk"
    elsewhere.mkdir()
    TREES["spcv2"](elsewhere)
    folder = tmp_path / "spcv2"
    folder.mkdir()
    for path in elsewhere.iterdir():
        (folder / path.name).symlink_to(path)
    (elsewhere / "bed" / "circle").symlink_to(elsewhere)
    assert len(load_task("spcv2", folder)) == 24


def test_an_unknown_split_is_named(tmp_path):
    TREES["fsd50k"](tmp_path)
    table = tmp_path / "FSD50K.ground_truth" / "dev.csv"
    table.write_text(table.read_text().replace(",val\n", ",validate\n"))
    with pytest.raises(UsageError, match=r"unknown split 'validate'\. Valid: train, valid, test"):
        load_task("fsd50k", tmp_path)


def test_new_speakers_are_tested_on_their_first_recordings_and_the_rest_of_them_is_unused(tmp_path):
    TREES["fsdd"](tmp_path)
    task = load_task("fsdd-by-speaker", tmp_path)
    speakers = np.array([name.split("_")[1] for name in task.names])
    index = np.array([int(name.split("_")[2].removesuffix(".wav")) for name in task.names])
    for few_shot in (None, FewShot(2)):
        for divide in (make_splits, train_test_splits):
            splits = divide(task, np.arange(len(task)), 0, few_shot)
            for fold, speaker in enumerate(("george", "jackson")):
                used = splits.train | splits.holdouts.any(2)
                assert set(speakers[used[:, fold]]) == {"george", "jackson"} - {speaker}
                assert (splits.test[:, fold] == (speakers == speaker) & (index < 10)).all()
    everything = dataclasses.replace(task, tested=None)
    assert task_fingerprint(task) != task_fingerprint(everything)


def test_a_whole_fold_is_held_out_where_not_all_of_it_is_tested():
    task = dataclasses.replace(tone_task(80, folds=4), tested=np.arange(80) % 5 == 0)
    splits = make_splits(task, np.arange(80), 0)
    for fold in range(4):
        assert (splits.valid[:, fold] == (task.folds == (fold + 1) % 4 + 1)).all()
        assert (splits.train[:, fold] == ~np.isin(task.folds, [fold + 1, (fold + 1) % 4 + 1])).all()
    result = linear_probe(prepare(SpectrumModel(), task, cache=False)).result
    assert [choice.clips["test"] for choice in result.selected] == [4] * 4


def test_a_fold_without_a_readable_clip_to_test_is_an_error():
    task = tone_task(40, folds=4)
    task = dataclasses.replace(task, tested=(task.folds > 1) | (np.arange(40) == 0), waveform=_first_is_bad)
    with pytest.raises(AtstError, match="no clip of fold '1' can be read"):
        extract(SpectrumModel(), task, cache=False)


def _first_is_bad(index):
    if index == 0:
        raise AudioError("cannot be read")
    return tone(500, index)
