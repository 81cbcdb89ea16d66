import pickle

import numpy as np
import pytest
import soundfile
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from atst.corpus import open_corpus
from atst.corpus.synthetic import KINDS, SyntheticCorpus, write_sounds
from atst.errors import AudioError, UsageError
from atst.model.frontend import FrontEnd
from atst.tasks.synthetic import synthetic_task


def test_a_clip_depends_on_seed_and_number_alone():
    corpus = SyntheticCorpus(size=24, seconds=2.0, seed=3)
    first = corpus.read(5)
    corpus.read(6)
    np.testing.assert_array_equal(corpus.read(5), first)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(SyntheticCorpus(999, 2.0, 3))).read(5), first)
    assert np.abs(SyntheticCorpus(24, 2.0, 4).read(5) - first).max() > 1e-3
    assert first.dtype == np.float32
    assert first.shape == (32000,)
    np.testing.assert_array_equal(corpus.read(5, 0.5, 0.25), first[8000:12000])
    with pytest.raises(AudioError):
        corpus.read(5, 2.0)


def test_every_kind_is_audible_and_finite():
    corpus = SyntheticCorpus(size=60)
    peaks = [np.abs(corpus.read(i)).max() for i in range(60)]
    assert 0.02 < min(peaks) <= max(peaks) <= 0.9001
    assert {corpus.label(i) for i in range(60)} == set(range(len(KINDS)))
    assert corpus.name(14) == "synthetic 0/14 (brass)"


def test_as_a_source():
    corpus = open_corpus(["synthetic:36"], clip_seconds=1.5)
    assert isinstance(corpus, SyntheticCorpus)
    assert (len(corpus), corpus.seconds[0]) == (36, 1.5)
    with pytest.raises(UsageError, match="synthetic:many"):
        open_corpus(["synthetic:many"])
    with pytest.raises(UsageError, match="cannot be mixed"):
        open_corpus(["synthetic", "other.wav"])


def test_labelled_clips_are_not_those_pretrained_on():
    task = synthetic_task(train=12, valid=12, test=12, seconds=1.0)
    assert (len(task), task.read(0).shape) == (36, (16000,))
    assert (np.bincount(task.labels) == 3).all()
    assert list(task.splits[[0, 12, 24]]) == ["train", "valid", "test"]
    corpus = SyntheticCorpus(size=36, seconds=1.0)
    assert all(np.abs(corpus.read(i) - task.read(i)).max() > 1e-3 for i in range(36))


def test_log_mel_statistics_do_not_solve_it():
    task = synthetic_task(train=360, valid=0, test=120, seconds=2.0)
    waveforms, frontend = np.stack([task.read(i) for i in range(len(task))]), FrontEnd()
    mel = np.concatenate(
        [frontend(part).numpy() for part in torch.from_numpy(waveforms).split(60)]
    )  # (N, 64, T)
    features = np.concatenate([mel.mean(2), mel.std(2)], axis=1)
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=200))
    train = task.splits == "train"
    accuracy = probe.fit(features[train], task.labels[train]).score(features[~train], task.labels[~train])
    assert 1.5 / len(KINDS) < accuracy < 0.8, "well above chance, far from solved"


def test_files_are_named_by_kind_and_written_once(tmp_path):
    folder = write_sounds(tmp_path / "sounds", each=2, seconds=0.5)
    files = sorted(folder.iterdir())
    assert {path.stem for path in files} == {f"{kind} {number}" for kind in KINDS for number in (1, 2)}
    sound, rate = soundfile.read(files[0])
    assert (len(sound), rate) == (8000, 16000)
    files[0].write_bytes(b"mine")
    write_sounds(folder, each=2, seconds=0.5)
    assert files[0].read_bytes() == b"mine"
