"""Runs through the public command: logs, unreadable clips, refusals, resumption bit for bit."""

import csv
import re
from shutil import copytree, rmtree
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch

import atst
from atst.corpus import open_corpus
from atst.errors import CorpusError, TrainingError, UsageError
from atst.pretraining import run as runs
from atst.pretraining.module import PretrainingModule
from atst.pretraining.recipe import Recipe

SMALL = [
    *("batch_size=4", "segment_seconds=0.3", "min_seconds=0.2", "warmup_steps=2", "checkpoint_minutes=0"),
    "precision=float32",
]


@pytest.fixture(scope="module")
def sounds(tmp_path_factory):
    """Twelve short noises, one of which is silent."""
    folder = tmp_path_factory.mktemp("sounds")
    for i in range(12):
        noise = np.random.default_rng(i).standard_normal(16000) * (0.1 if i else 0.0)
        soundfile.write(folder / f"{i:02}.wav", noise, 16000)
    return folder


def settings(steps, *more):
    return [*SMALL, f"max_steps={steps}", *more]


def run(sounds, out, steps, *more, workers=0, recipe="nano-paper", **options):
    return atst.pretrain(
        [sounds],
        out=out,
        recipe=recipe,
        overrides=settings(steps, *more),
        workers=workers,
        device="cpu",
        **options,
    )


def weights(folder):
    newest = max((folder / "checkpoints").iterdir())
    return torch.load(newest, weights_only=True)["state_dict"]


def steps_logged(folder):
    with (folder / "metrics.csv").open(newline="") as file:
        return [int(row["step"]) for row in csv.DictReader(file)]


def assert_same(first, second):
    assert first.keys() == second.keys()
    for key, value in first.items():
        assert torch.equal(value, second[key]), key


@pytest.fixture(scope="module")
def whole(sounds, tmp_path_factory):
    """A run of eight steps that nothing interrupted; mixup, crops and drop path on."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    run(sounds, out, 8, "checkpoint_steps=3", "keep_checkpoints=5")
    return out


def test_a_run_leaves_a_model_logs_and_the_faulty_clips(whole):
    model = atst.load(whole)
    assert model.embed(np.zeros(16000, np.float32), sample_rate=16000).shape == (model.embedding_size,)
    assert model.config.training["steps"] == 8
    assert steps_logged(whole) == list(range(8))
    assert [path.name for path in sorted((whole / "checkpoints").iterdir())] == [
        "step-00000003.ckpt",
        "step-00000006.ckpt",
        "step-00000008.ckpt",
    ]
    with (whole / "errors.csv").open(newline="") as file:
        [header, [clip, reason]] = list(csv.reader(file))
    assert header == ["path", "reason"]
    assert clip.endswith("00.wav")
    assert "silent" in reason


@pytest.mark.parametrize("workers", [pytest.param(0, marks=pytest.mark.full), 2])
def test_a_resumed_run_ends_in_the_same_weights(sounds, whole, tmp_path, workers):
    out = tmp_path / "run"
    run(sounds, out, 8, "checkpoint_steps=3", "keep_checkpoints=5")
    for late in ("step-00000006.ckpt", "step-00000008.ckpt"):
        (out / "checkpoints" / late).unlink()
    run(sounds, out, 8, "checkpoint_steps=3", "keep_checkpoints=5", workers=workers, resume=True)
    assert_same(weights(out), weights(whole))
    assert steps_logged(out) == list(range(8))


@pytest.mark.full
@pytest.mark.parametrize("more", [["stem=frame", "local_weight=1"], ["local_weight=0.5"]])
def test_a_resumed_run_of_masked_frames_ends_in_the_same_weights(sounds, tmp_path, more):
    keys = ("checkpoint_steps=2", "same_segment=true", *more)
    for out in (tmp_path / "whole", tmp_path / "cut"):
        run(sounds, out, 4, *keys)
    (tmp_path / "cut" / "checkpoints" / "step-00000004.ckpt").unlink()
    run(sounds, tmp_path / "cut", 4, *keys, resume=True)
    assert_same(weights(tmp_path / "cut"), weights(tmp_path / "whole"))
    model = atst.load(tmp_path / "cut")
    assert model.config.stem == ("frame" if len(more) == 2 else "patches")
    assert len(model.embed(np.zeros(16000, np.float32), sample_rate=16000)) == model.embedding_size


def test_a_resumed_run_of_convolutions_ends_in_the_same_weights(sounds, tmp_path):
    for out in (tmp_path / "whole", tmp_path / "cut"):
        run(sounds, out, 4, "checkpoint_steps=2", recipe="nano")
    (tmp_path / "cut" / "checkpoints" / "step-00000004.ckpt").unlink()
    run(sounds, tmp_path / "cut", 4, "checkpoint_steps=2", recipe="nano", resume=True)
    assert_same(weights(tmp_path / "cut"), weights(tmp_path / "whole"))
    assert atst.load(tmp_path / "cut").fingerprint == atst.load(tmp_path / "whole").fingerprint


def test_a_resumed_run_of_two_lengths_and_a_part_of_the_corpus_ends_in_the_same_weights(sounds, tmp_path):
    keys = ("checkpoint_steps=2", "second_segment_seconds=0.2", "subset=6", "subset_seed=1")
    for out in (tmp_path / "whole", tmp_path / "cut"):
        run(sounds, out, 4, *keys)
    (tmp_path / "cut" / "checkpoints" / "step-00000004.ckpt").unlink()
    run(sounds, tmp_path / "cut", 4, *keys, resume=True)
    assert_same(weights(tmp_path / "cut"), weights(tmp_path / "whole"))
    text = (tmp_path / "cut" / "report.html").read_text()
    assert "the 6 clips" in text
    assert "segments of 0.3 and 0.2 s" in text


def test_the_untrained_copy_has_the_first_weights_the_standardisation_and_the_read_out(sounds, tmp_path):
    run(sounds, tmp_path / "run", 1, "learning_rate=1e-12", recipe="nano")
    plan, trained = Recipe.stored(tmp_path / "run"), atst.load(tmp_path / "run")
    untrained = runs.untrained(plan, open_corpus([sounds], plan.clip_seconds, plan.min_seconds))
    for first, last in zip(untrained.encoder.parameters(), trained.encoder.parameters(), strict=True):
        torch.testing.assert_close(first, last, atol=1e-6, rtol=0)
    assert untrained.encoder.input_std == trained.encoder.input_std != 1
    assert untrained.readout() == trained.readout()
    assert untrained.readout().pooling == "whitened"


def test_resume_of_a_finished_run_does_nothing_and_of_none_starts_one(sounds, whole, tmp_path):
    before = (whole / "metrics.csv").read_bytes()
    result = run(sounds, whole, 8, "checkpoint_steps=3", "keep_checkpoints=5", resume=True)
    assert result.steps == 8
    assert (whole / "metrics.csv").read_bytes() == before
    assert run(sounds, tmp_path / "new", 1, resume=True).steps == 1


def reported_steps(folder):
    [headline] = re.findall(r"([\d,]+) of [\d,]+ steps", (folder / "report.html").read_text())
    return int(headline.replace(",", ""))


@pytest.mark.parametrize("lost", ["model", "old model", "report"])
def test_resume_of_a_run_killed_after_its_last_checkpoint_writes_what_is_missing(
    sounds, whole, tmp_path, lost
):
    expected = atst.load(whole).fingerprint
    out = copytree(whole, tmp_path / "run")
    if lost == "report":
        (out / "report.html").unlink()
    else:
        rmtree(out / "model")
    if lost == "old model":
        runs.model_at(out / "checkpoints" / "step-00000006.ckpt").save(out / "model")
        assert atst.load(out).fingerprint != expected
    atst.pretrain([sounds], out=out, resume=True, device="cpu")
    assert atst.load(out).fingerprint == expected
    assert reported_steps(out) == 8


def test_an_interrupted_report_leaves_none_that_tells_of_the_save_before(sounds, tmp_path, monkeypatch):
    out = tmp_path / "run"
    write, saves = runs.write_run_report, []

    def interrupted(*arguments):
        saves.append(arguments)
        if len(saves) == 2:
            raise KeyboardInterrupt
        write(*arguments)

    monkeypatch.setattr(runs, "write_run_report", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(sounds, out, 4, "checkpoint_steps=2")
    assert atst.load(out).config.training["steps"] == 4
    assert not (out / "report.html").exists()
    atst.pretrain([sounds], out=out, resume=True, device="cpu")
    assert reported_steps(out) == 4


def test_resume_asks_for_no_disk_that_its_checkpoints_have_already(sounds, whole, tmp_path, monkeypatch):
    out = copytree(whole, tmp_path / "run")  # three checkpoints of the five that it keeps
    size = (out / "checkpoints" / "step-00000008.ckpt").stat().st_size
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=0))
    assert atst.pretrain([sounds], out=out, resume=True, device="cpu").steps == 8  # finished: needs none
    (out / "checkpoints" / "step-00000003.ckpt").unlink()
    (out / "checkpoints" / "step-00000008.ckpt").unlink()
    (out / "checkpoints" / "step-00000002.ckpt").write_bytes(bytes(size))
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=3.8 * size))
    with pytest.raises(TrainingError, match=r"the run needs \S+ GB of disk; \S+ are free"):
        atst.pretrain([sounds], out=out, resume=True, device="cpu")
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=4.2 * size))
    assert atst.pretrain([sounds], out=out, resume=True, device="cpu").steps == 8


def test_fewer_checkpoints_can_be_kept_from_now_on_which_makes_room(sounds, whole, tmp_path):
    out = copytree(whole, tmp_path / "run")
    (out / "checkpoints" / "step-00000008.ckpt").unlink()
    atst.pretrain([sounds], out=out, overrides=["keep_checkpoints=1"], resume=True, device="cpu")
    assert [path.name for path in (out / "checkpoints").iterdir()] == ["step-00000008.ckpt"]
    assert_same(weights(out), weights(whole))


def test_what_killed_saves_left_is_removed(sounds, tmp_path):
    out = tmp_path / "run"
    run(sounds, out, 1)
    (out / "checkpoints" / ".step-00000002.ckpt.123.tmp").write_bytes(b"half")
    (out / ".model.123.tmp").mkdir()
    atst.pretrain([sounds], out=out, resume=True, device="cpu")
    assert not list(out.rglob("*.tmp"))


def test_a_checkpoint_is_written_beside_its_place_and_nowhere_else(sounds, tmp_path, monkeypatch):
    """Lightning alone would write it to the system's folder for temporary files first."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "not there"))
    run(sounds, tmp_path / "run", 1)
    assert weights(tmp_path / "run")


def test_resume_refuses_another_recipe_and_needs_none(sounds, whole):
    with pytest.raises(UsageError, match=r"learning_rate \(.* -> 0\.1\)"):
        run(sounds, whole, 8, "learning_rate=0.1", "checkpoint_steps=3", "keep_checkpoints=5", resume=True)
    assert atst.pretrain([sounds], out=whole, resume=True, device="cpu").steps == 8


def test_a_changed_condition_is_named(sounds, tmp_path, capsys):
    out = tmp_path / "run"
    run(sounds, out, 2, "checkpoint_steps=1")
    (out / "checkpoints" / "step-00000002.ckpt").unlink()
    extra = tmp_path / "extra.wav"
    soundfile.write(extra, np.random.default_rng(99).standard_normal(16000) * 0.1, 16000)
    atst.pretrain([sounds, extra], out=out, resume=True, device="cpu")
    assert "corpus changed from 12 clips" in capsys.readouterr().err


def test_a_damaged_checkpoint_is_named(sounds, tmp_path):
    run(sounds, tmp_path / "run", 1)
    checkpoint = tmp_path / "run" / "checkpoints" / "step-00000001.ckpt"
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    with pytest.raises(TrainingError, match=r"step-00000001\.ckpt: cannot be read"):
        atst.pretrain([sounds], out=tmp_path / "run", resume=True, device="cpu")


def test_init_starts_from_the_encoder_of_a_model(sounds, whole, tmp_path):
    # The first step has learning rate 0, so after it the teacher still is what it started as.
    run(sounds, tmp_path / "run", 1, init=str(whole))
    assert atst.load(tmp_path / "run").fingerprint == atst.load(whole).fingerprint
    with pytest.raises(UsageError, match="its encoder is 'tiny'"):
        run(sounds, tmp_path / "other", 1, init="random:tiny")


def test_a_loss_that_is_not_finite_stops_the_run_with_a_reason(sounds, tmp_path):
    with pytest.raises(TrainingError, match="the loss became nan at step"):
        run(sounds, tmp_path / "run", 30, "learning_rate=1e25", "warmup_steps=0", "precision=float32")


def test_a_gradient_that_is_not_finite_reaches_no_checkpoint(sounds, tmp_path, monkeypatch):
    def overflow(module):
        if module.trainer.global_step == 3:
            next(module.pair.student.parameters()).grad.fill_(float("inf"))

    monkeypatch.setattr(PretrainingModule, "on_after_backward", overflow)
    with pytest.raises(TrainingError, match="weights or the optimizer's state are not finite after step 3"):
        run(sounds, tmp_path / "run", 4, "checkpoint_steps=2", "precision=32")
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == ["step-00000002.ckpt"]


def test_refusals_are_one_clear_line(sounds, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "something").touch()
    with pytest.raises(UsageError, match="not an empty folder; use --resume"):
        run(sounds, tmp_path / "full", 1)
    with pytest.raises(UsageError, match="no sources"):
        atst.pretrain([], out=tmp_path / "run")
    with pytest.raises(CorpusError):
        run(tmp_path / "full", tmp_path / "run", 1)
    with pytest.raises(UsageError, match="Did you mean 'max_steps'"):
        run(sounds, tmp_path / "run", 1, "max_step=3")
    with pytest.raises(UsageError, match=r"sharded=true .* --devices 2 or more, or sharded=false"):
        run(sounds, tmp_path / "run", 1, "sharded=true")
    assert not (tmp_path / "run").exists()
