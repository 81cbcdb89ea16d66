"""Rows that are segments of their recordings, and what is drawn keeps recordings whole."""

import json

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from tones import SpectrumModel, tone

import atst
from atst import cli
from atst.errors import UsageError
from atst.evaluation.features import extract, prepare
from atst.evaluation.few_shot import few_shot_probe
from atst.evaluation.hear import hear_probe
from atst.evaluation.knn import knn_watch
from atst.evaluation.linear import linear_probe
from atst.evaluation.report import write_probe
from atst.scoring.splits import FewShot, make_splits
from atst.tasks import drawn, load_task
from atst.tasks.check import check_task
from atst.tasks.division import grouped_folds

SECOND = 16000
PITCHES = {"low": 500, "high": 3000}


def recordings(folder, count=12, each=4, columns="split", ends=0.0):
    """`count` recordings in which a low and a high tone take turns, annotated second by second."""
    rows = []
    for number in range(count):
        sound = [tone(PITCHES[label], seed=number, seconds=1.0) for label in ("low", "high") * (each // 2)]
        soundfile.write(folder / f"{number}.wav", np.concatenate(sound), SECOND)
        part = ("train", "train", "valid", "test")[number % 4] if columns == "split" else number % 3
        for start in range(each):
            end = start + 1 + (ends if start == each - 1 else 0)
            rows.append(f"{number}.wav,{start},{end},{('low', 'high')[start % 2]},{part}")
    (folder / "meta.csv").write_text(f"path,start,end,label,{columns}\n" + "\n".join(rows) + "\n")
    return folder / "meta.csv"


def undivided(table):
    """The same table without its last column."""
    lines = [line.rpartition(",")[0] for line in table.read_text().splitlines()]
    table.write_text("\n".join(lines) + "\n")
    return table


def test_a_segment_is_what_is_read(tmp_path):
    task = load_task(recordings(tmp_path))
    whole = atst.sound.audio.read(tmp_path / "0.wav")
    np.testing.assert_array_equal(task.read(2), whole[2 * SECOND : 3 * SECOND])
    np.testing.assert_array_equal(task.read(3, 0.5), whole[int(3.25 * SECOND) : int(3.75 * SECOND)])
    assert task.segment(2) == (2.0, 3.0)
    assert task.title(2) == "0.wav 2-3 s"


@pytest.mark.parametrize("columns", ["split", "fold"])
def test_segments_are_told_apart_everywhere(tmp_path, columns):
    """The same rows on whole files say nothing: each recording has both labels equally often."""
    task = load_task(recordings(tmp_path, columns=columns))
    options = {"cache": False, "device": "cpu"}
    assert linear_probe(prepare(SpectrumModel(), task, **options)).result.value == 1.0
    assert knn_watch(task)(SpectrumModel()) == 1.0
    few = prepare(SpectrumModel(), task, few_shot=FewShot(shots=8), **options)
    assert few_shot_probe(few, seeds=2).result.value > 0.9
    assert not task.warnings


def test_segments_by_the_protocol_of_hear_and_fine_tuning(tmp_path, monkeypatch):
    monkeypatch.setattr("atst.evaluation.mlp.EPOCHS", 30)
    table = recordings(tmp_path)
    task = load_task(table)
    assert hear_probe(prepare(SpectrumModel(), task, cache=False, device="cpu")).result.value > 0.9
    changes = ["max_epochs=1", "warmup_epochs=0", "batch_size=8", "epoch_steps=1", "workers=0"]
    result = atst.finetune(task, model="random:nano", out=tmp_path / "out", overrides=changes, device="cpu")
    assert result.clips == 48
    rows = (tmp_path / "out" / "predictions.csv").read_text().splitlines()
    assert rows[0] == "path,start,end,split,label,prediction,score,correct"
    assert rows[1].startswith("3.wav,0,1,test,low,")


def test_the_cache_knows_segments_apart(tmp_path, monkeypatch):
    monkeypatch.setenv("ATST_CACHE", str(tmp_path / "cache"))
    table, model = recordings(tmp_path), SpectrumModel()
    first = extract(model, load_task(table))
    assert model.embedded == 48
    again = extract(model, load_task(table))
    assert model.embedded == 48
    np.testing.assert_array_equal(first.values, again.values)
    assert not np.array_equal(first.values[0], first.values[1])
    table.write_text(table.read_text().replace("0.wav,0,1,", "0.wav,0,1.5,", 1))
    extract(model, load_task(table))
    assert model.embedded == 49


def test_files_and_fingerprint_of_a_probe_on_segments(tmp_path):
    table = recordings(tmp_path)
    probe = linear_probe(prepare(SpectrumModel(), load_task(table), cache=False, device="cpu"))
    write_probe(probe, tmp_path / "out")
    rows = (tmp_path / "out" / "predictions.csv").read_text().splitlines()
    assert rows[0] == "path,start,end,split,label,prediction,score,correct"
    assert rows[1].startswith("3.wav,0,1,test,low,low,")
    before = probe.result.task_fingerprint
    table.write_text(table.read_text().replace("0.wav,0,1,", "0.wav,0.5,1,", 1))
    after = linear_probe(prepare(SpectrumModel(), load_task(table), cache=False, device="cpu"))
    assert after.result.task_fingerprint != before


def test_rows_without_times_are_whole_files(tmp_path):
    table = recordings(tmp_path)
    with table.open("a") as stream:
        stream.write("whole.wav,,,low,train\n")
    soundfile.write(tmp_path / "whole.wav", tone(500, 1, 2.5), SECOND)
    task = load_task(table)
    assert task.segment(48) is None
    assert task.title(48) == "whole.wav"
    assert len(task.read(48)) == 2.5 * SECOND


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("0.wav,2,1,low,train", "line 50: end 1 s is before start 2 s"),
        ("0.wav,2,2,low,train", "line 50: start and end are both 2 s, a point; atst annotations --window"),
        ("0.wav,-1,1,low,train", "line 50: start must be seconds, 0 or more, not '-1'"),
        ("0.wav,0,nan,low,train", "line 50: end must be seconds, 0 or more, not 'nan'"),
        ("0.wav,0:01,0:02,low,train", "line 50: start must be seconds, 0 or more, not '0:01'"),
        ("0.wav,1,,low,train", "line 50: one of 'start' and 'end' is empty"),
        ("0.wav,2,6,low,train", r"line 50: 2 to 6 s is beyond the end of .*0\.wav, 4\.00 s"),
        ("0.wav,4.2,4.5,low,train", r"line 50: 4\.2 to 4\.5 s is beyond the end of .*0\.wav, 4\.00 s"),
        ("0.wav,1,2,low,train", "lines 3 and 50: two labels, 'high' and 'low', for 0.wav, 1 to 2 s"),
        (
            "0.wav,1,2,high,test",
            r"1 segment is in several splits, the first .*0\.wav, 1 to 2 s, in test and train",
        ),
    ],
)
def test_segments_that_are_none_are_named_with_their_line(tmp_path, row, message):
    table = recordings(tmp_path)
    with table.open("a") as stream:
        stream.write(row + "\n")
    with pytest.raises(UsageError, match=message) as error:
        load_task(table)
    assert "\n" not in str(error.value)


def test_one_of_the_two_columns_is_not_enough(tmp_path):
    table = recordings(tmp_path)
    table.write_text(table.read_text().replace("start,end", "start,stop", 1))
    with pytest.raises(UsageError, match="has no column 'end': 'start' and 'end'"):
        load_task(table)


def test_an_end_just_beyond_the_recording_is_cut_and_counted(tmp_path):
    task = load_task(recordings(tmp_path, ends=0.4))
    assert task.warnings == ("12 segments end up to 0.40 s beyond the recording; cut to its end.",)
    assert task.segment(3) == (3.0, 4.0)
    result = linear_probe(prepare(SpectrumModel(), task, cache=False, device="cpu")).result
    assert task.warnings[0] in result.warnings


def test_a_recording_that_cannot_be_read_is_left_to_the_probe(tmp_path):
    table = recordings(tmp_path)
    (tmp_path / "0.wav").write_bytes(b"not audio")
    result = linear_probe(prepare(SpectrumModel(), load_task(table), cache=False, device="cpu")).result
    assert [clip for clip, _ in result.skipped] == [f"0.wav {n}-{n + 1} s" for n in range(4)]


def test_one_segment_in_several_rows_is_one_clip_of_a_multi_label_table(tmp_path):
    table = recordings(tmp_path)
    text = table.read_text().replace(",label,", ",labels,", 1)
    table.write_text(text + "0.wav,0,1,noise,train\n0.wav,0,1,low,train\n3.wav,0,1,noise,test\n")
    task = load_task(table)
    assert len(task) == 48
    assert task.metric == "mAP"
    assert task.label_names == ["high", "low", "noise"]
    assert task.labels[:2].tolist() == [[0, 1, 1], [1, 0, 0]]
    assert linear_probe(prepare(SpectrumModel(), task, cache=False, device="cpu")).result.metric == "mAP"


def test_recordings_in_several_splits_are_counted_and_it_is_said_why_that_matters(tmp_path):
    table = recordings(tmp_path, columns="fold")
    table.write_text(table.read_text().replace("0.wav,2,3,low,0", "0.wav,2,3,low,1"))
    (warning,) = load_task(table).warnings
    assert "4 clips come from 1 recordings that are in several folds" in warning
    assert "0.wav; results are then too good: a classifier may recognise the recording" in warning


def test_a_table_without_parts_is_divided_by_recording_and_seed(tmp_path):
    table = undivided(recordings(tmp_path))
    task = load_task(table, seed=3)
    for part in ("train", "valid", "test"):
        assert part in task.splits
    recording = np.array(task.names)
    assert sum(len(np.unique(recording[task.splits == part])) for part in ("train", "valid", "test")) == 12
    assert "drawn with seed 3: train " in task.about
    assert "recordings, none of them in two splits" in task.about
    assert load_task(table, seed=3).splits.tolist() == task.splits.tolist()
    assert load_task(table, seed=4).splits.tolist() != task.splits.tolist()
    assert drawn(load_task(table), 3).splits.tolist() == task.splits.tolist()
    assert not task.warnings
    result = linear_probe(prepare(SpectrumModel(), task, cache=False, device="cpu")).result
    assert result.value == 1.0


def test_a_group_is_not_divided(tmp_path):
    table = undivided(recordings(tmp_path))
    lines = table.read_text().splitlines()
    grouped = [f"{line},site {int(line.split('.')[0]) // 2}" for line in lines[1:]]
    table.write_text("\n".join([f"{lines[0]},group", *grouped]) + "\n")
    task = load_task(table)
    sites = np.array([int(name.split(".")[0]) // 2 for name in task.names])
    assert sum(len(np.unique(sites[task.splits == part])) for part in ("train", "valid", "test")) == 6


def test_too_few_recordings_to_divide(tmp_path):
    with pytest.raises(
        UsageError, match="from 2 recordings, too few to split: at least 3 are needed, or a column"
    ):
        load_task(undivided(recordings(tmp_path, count=2)))
    assert len(load_task(undivided(recordings(tmp_path, count=3)))) == 12


def test_whole_files_without_parts_are_divided_as_class_folders_are(tmp_path):
    rows = []
    for number in range(20):
        soundfile.write(tmp_path / f"{number}.wav", tone(500 + 2500 * (number % 2), number), SECOND)
        rows.append(f"{number}.wav,{('low', 'high')[number % 2]}")
    (tmp_path / "meta.csv").write_text("path,label\n" + "\n".join(rows) + "\n")
    task = load_task(tmp_path)
    assert [task.splits.tolist().count(part) for part in ("train", "valid", "test")] == [12, 4, 4]
    for label in (0, 1):
        assert (task.labels[task.splits == "test"] == label).sum() == 2
    assert task.about.endswith("drawn with seed 0: train 12, valid 4, test 4 clips.")


def test_the_seed_of_the_command_draws_the_split_and_reports_say_so(tmp_path, capsys):
    table = undivided(recordings(tmp_path))
    out = tmp_path / "out"
    with pytest.raises(SystemExit) as done:
        cli.main(["probe", str(table), "--model", "logmel", "--seed", "5", "--no-cache", "--out", str(out)])
    assert done.value.code == 0
    assert "drawn with seed 5: train" in (out / "report.html").read_text()
    rows = (out / "predictions.csv").read_text().splitlines()[1:]
    expected = load_task(table, seed=5)
    assert sorted({row.split(",")[0] for row in rows}) == sorted(
        {name for name, part in zip(expected.names, expected.splits, strict=True) if part == "test"}
    )
    changes = ["max_epochs=1", "warmup_epochs=0", "batch_size=8", "epoch_steps=1", "workers=0"]
    atst.finetune(table, model="random:nano", out=tmp_path / "fine", overrides=changes, seed=5, device="cpu")
    assert "drawn with seed 5: train" in (tmp_path / "fine" / "report.html").read_text()
    rows = (tmp_path / "fine" / "predictions.csv").read_text().splitlines()[1:]
    assert len(rows) == (expected.splits == "test").sum()
    (tmp_path / "plan.yaml").write_text(f"models: [logmel]\ntasks: {{mine: {table}}}\nseeds: [5]\n")
    atst.evaluate(tmp_path / "plan.yaml", out=tmp_path / "table", cache=False)
    [path] = (tmp_path / "table").rglob("results.json")
    stored = json.loads(path.read_text())
    assert (
        stored["task_fingerprint"].split()[-1]
        == json.loads((out / "results.json").read_text())["task_fingerprint"].split()[-1]
    )


@pytest.mark.parametrize("columns", ["split", "fold"])
def test_hold_outs_keep_recordings_together(tmp_path, columns):
    table = recordings(tmp_path, columns=columns)
    table.write_text(table.read_text().replace(",valid\n", ",train\n").replace(",2\n", ",1\n"))  # two folds
    task = load_task(table)
    splits = make_splits(task, np.arange(len(task)), seed=0)
    assert "a fifth of the training recordings" in splits.selected_on
    for fold in range(splits.count):
        for repeat in range(splits.holdouts.shape[2]):
            held = splits.holdouts[:, fold, repeat]
            assert held.any()
            rest = splits.train_and_valid[:, fold] & ~held
            assert not set(task.groups[held]) & set(task.groups[rest])
        assert (splits.holdouts[:, fold].sum(1) <= 1).all()


@given(st.integers(0, 10**6), st.integers(1, 40), st.integers(1, 12), st.integers(1, 5))
def test_grouped_folds_never_divide_a_group(seed, clips, groups, classes):
    rng = np.random.default_rng(seed)
    own, label = rng.integers(0, groups, clips), rng.integers(0, classes, clips)
    numbers = grouped_folds(label, own, seed)
    present = len(np.unique(own))
    if numbers is None:
        assert present == 1 or np.bincount(label).max() == 1
        return
    assert all(len(np.unique(numbers[own == group])) == 1 for group in np.unique(own))
    assert 1 < len(np.unique(numbers)) <= min(5, present)


def test_check_counts_segments(tmp_path, monkeypatch):
    recordings(tmp_path, count=5, columns="fold")
    monkeypatch.setenv("ATST_DATA", str(tmp_path))
    found = check_task("esc10", tmp_path)
    assert sum(count for part, count in found.found.items() if part != "all") == 20
    assert found.missing == []
