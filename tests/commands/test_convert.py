from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

import atst
from atst.cli import main
from atst.commands.convert import convert
from atst.errors import ModelError, UsageError
from golden.numbers import finetuned_state, lightning_checkpoint, nano_state


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("theirs") / "theirs.ckpt"
    torch.save(lightning_checkpoint(nano_state(), train_len=9.0), path)
    return path


def test_converted_folder_equals_the_checkpoint(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    convert(checkpoint, out=tmp_path / "model")
    assert "nano encoder (teacher), segments of 9 s" in capsys.readouterr().out
    folder, file = atst.load(tmp_path / "model"), atst.load(checkpoint)
    assert folder.fingerprint == file.fingerprint
    waveform = np.random.default_rng(0).standard_normal(16_000).astype(np.float32)
    np.testing.assert_array_equal(
        folder.embed(waveform, sample_rate=16_000), file.embed(waveform, sample_rate=16_000)
    )
    card = (tmp_path / "model" / "README.md").read_text()
    assert "theirs.ckpt" in card
    assert str(checkpoint.parent) not in card


def test_command_line_and_python_embed_a_file_identically(checkpoint: Path, tmp_path: Path) -> None:
    sound = tmp_path / "sound.wav"
    soundfile.write(sound, 0.1 * np.random.default_rng(1).standard_normal((22_050 * 7, 2)), 22_050)
    _assert_identical(checkpoint, sound, tmp_path)


def test_command_line_and_python_embed_a_real_recording_identically(
    checkpoint: Path, tmp_path: Path, shared_data: Path
) -> None:
    _assert_identical(checkpoint, min((shared_data / "tasks" / "esc10" / "audio").iterdir()), tmp_path)


def _assert_identical(checkpoint: Path, sound: Path, tmp_path: Path) -> None:
    commands = [
        ["convert", str(checkpoint), "--out", str(tmp_path / "model")],
        ["embed", str(sound), "--model", str(tmp_path / "model"), "--out", str(tmp_path / "folder.npz")],
        ["embed", str(sound), "--model", str(checkpoint), "--out", str(tmp_path / "file.npz")],
    ]
    for command in commands:
        with pytest.raises(SystemExit) as done:
            main(command)
        assert done.value.code == 0
    expected = atst.load(checkpoint).embed(sound)
    for name in ("folder", "file"):
        with np.load(tmp_path / f"{name}.npz") as rows:
            np.testing.assert_array_equal(rows["embedding"][0], expected)


@pytest.fixture(scope="module")
def finetuned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("finetuned") / "words.ckpt"
    torch.save(lightning_checkpoint(finetuned_state("nano", 2)), path)
    return path


def test_a_fine_tuned_checkpoint_becomes_a_classifier_of_its_tasks_classes(
    finetuned: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "data").mkdir()
    for part in ("validation", "testing"):  # no audio is needed for the names
        lines = [f"{word}/{part}_nohash_0.wav" for word in ("up", "down")]
        (tmp_path / "data" / f"{part}_list.txt").write_text("\n".join(lines))
    convert(finetuned, out=tmp_path / "named", task="spcv2", data=tmp_path / "data")
    said = capsys.readouterr()
    assert "classifier of 2 classes on a nano encoder" in said.out
    assert said.err == ""
    waveform = np.random.default_rng(0).normal(0, 0.1, 14 * 16000).astype(np.float32)
    named = atst.load_classifier(tmp_path / "named").predict(waveform, sample_rate=16000)
    convert(finetuned, out=tmp_path / "numbered")
    assert "warning: its 2 classes are called 0 to 1" in capsys.readouterr().err
    numbered = atst.load_classifier(tmp_path / "numbered")
    scores = numbered.predict(waveform, sample_rate=16000)
    assert (named["down"], named["up"]) == (scores["0"], scores["1"])
    assert numbered.features["pooling"] == "published"


def test_a_task_with_other_classes_or_another_checkpoint_is_refused(
    checkpoint: Path, finetuned: Path, tmp_path: Path
) -> None:
    table = tmp_path / "meta.csv"
    for name in "abc":
        soundfile.write(tmp_path / f"{name}.wav", np.zeros(800), 16000)
    table.write_text("path,label,split\na.wav,x,train\nb.wav,y,valid\nc.wav,z,test\n")
    with pytest.raises(UsageError, match="has 3 classes, the checkpoint's head 2"):
        convert(finetuned, out=tmp_path / "out", task=table)
    with pytest.raises(UsageError, match="is not a fine-tuned checkpoint"):
        convert(checkpoint, out=tmp_path / "out", task=table)
    with pytest.raises(UsageError, match="--task goes with --out"):
        convert(checkpoint, to_official=tmp_path / "out.ckpt", task=table)
    assert not (tmp_path / "out").exists()


def test_student_differs_from_teacher(checkpoint: Path, tmp_path: Path) -> None:
    convert(checkpoint, out=tmp_path / "student", network="student")
    assert atst.load(tmp_path / "student").fingerprint != atst.load(checkpoint).fingerprint


def test_there_and_back(tmp_path: Path) -> None:
    convert(Path("random:small"), to_official=tmp_path / "theirs.ckpt")
    convert(tmp_path / "theirs.ckpt", out=tmp_path / "ours")
    assert atst.load(tmp_path / "ours").fingerprint == atst.load("random:small").fingerprint


def test_what_exists_is_not_overwritten(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "note.txt").write_text("mine")
    with pytest.raises(UsageError, match="exists"):
        convert(checkpoint, out=tmp_path / "full")
    with pytest.raises(UsageError, match="exists"):
        convert(checkpoint, out=tmp_path / "full" / "note.txt")
    with pytest.raises(UsageError, match="exists"):
        convert(checkpoint, to_official=tmp_path / "full" / "note.txt")
    assert [p.name for p in tmp_path.rglob("*")] == ["full", "note.txt"]


def test_a_refused_checkpoint_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "text.ckpt").write_text("no checkpoint")
    with pytest.raises(ModelError, match="not a PyTorch checkpoint"):
        convert(tmp_path / "text.ckpt", out=tmp_path / "model")
    with pytest.raises(ModelError, match="not 'nano'"):
        convert(Path("random:nano"), to_official=tmp_path / "nano.ckpt")
    assert [p.name for p in tmp_path.iterdir()] == ["text.ckpt"]


def test_one_direction_at_a_time(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="either"):
        convert(checkpoint)
    with pytest.raises(UsageError, match="either"):
        convert(checkpoint, out=tmp_path / "a", to_official=tmp_path / "b")


def test_a_baseline_cannot_be_converted(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no encoder"):
        convert(Path("logmel"), to_official=tmp_path / "a.ckpt")
