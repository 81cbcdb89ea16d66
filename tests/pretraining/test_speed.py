import torch

from atst.corpus import open_corpus
from atst.pretraining import recipe as recipes
from atst.pretraining import speed


def test_the_time_of_a_step_is_measured_without_leaving_anything(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(speed, "SECONDS", 0.0)
    plan = recipes.resolve("nano-paper", ["batch_size=4", "accumulate=2", "precision=float32", "workers=0"])
    corpus = open_corpus(["synthetic:8"], plan.clip_seconds, plan.min_seconds)
    assert 0 < speed.seconds_a_step(plan, corpus, torch.device("cpu")) < 60
    assert list(tmp_path.iterdir()) == []
