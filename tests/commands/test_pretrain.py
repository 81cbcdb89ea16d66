"""`atst pretrain` as a user meets it: names of files, kinds of arguments, signals."""

import csv
import os

import numpy as np
import pytest
import soundfile

import atst

TINY = ["batch_size=4", "segment_seconds=0.3", "min_seconds=0.2", "warmup_steps=1", "checkpoint_minutes=0"]
OPTIONS = {"recipe": "nano", "set": [*TINY, "max_steps=2"], "workers": 0, "device": "cpu"}


@pytest.fixture
def sounds(tmp_path):
    """Four short noises."""
    folder = tmp_path / "sounds"
    folder.mkdir()
    for i in range(4):
        soundfile.write(folder / f"{i}.wav", np.random.default_rng(i).normal(0, 0.1, 16000), 16000)
    return folder


def test_names_that_are_not_utf8(sounds):
    try:
        (sounds / "0.wav").rename(sounds / os.fsdecode(b"caf\xe9.wav"))
    except OSError:
        pytest.skip("this file system takes only names in UTF-8")
    silent = os.fsdecode(b"\xe9.wav")
    soundfile.write(sounds / "silent.wav", np.zeros(16000), 16000)
    (sounds / "silent.wav").rename(sounds / silent)
    out = sounds.parent / "run"
    result = atst.pretrain([sounds], out=out, **OPTIONS)
    assert result.faults == 1
    with (out / "faults.csv").open(newline="", encoding="utf-8") as file:
        assert [row[0] for row in csv.reader(file)] == [str(sounds / r"\udce9.wav")]


def test_paths_may_be_text(sounds):
    out = str(sounds.parent / "run")
    assert atst.pretrain(str(sounds), out=out, **OPTIONS).steps == 2
    assert atst.pretrain(str(sounds), out=out, resume=True, device="cpu").steps == 2
    with pytest.raises(atst.UsageError, match="not an empty folder"):
        atst.pretrain(str(sounds), out=out, **OPTIONS)
    with pytest.raises(atst.UsageError, match="its encoder is 'tiny'"):
        atst.pretrain(str(sounds), out=out + "2", init="random:tiny", **OPTIONS)
