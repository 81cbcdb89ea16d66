"""The convolutional encoder that comes with the package, fine-tuned on tones through the public commands."""

import csv

import pytest
import torch
from tones import tone_files

import atst
from atst.finetuning import recipe as recipes
from atst.finetuning.network import Network
from atst.model import load as models

KEYS = ("batch_size=8", "max_epochs=3", "epoch_steps=2", "warmup_epochs=1", "precision=float32")


def test_frozen_convolutions_keep_their_statistics():
    model = models.load("random:conv-nano")
    logmels = list(torch.randn(4, 64, 60).unbind())
    for freeze, kept in ((0, False), (1, True)):
        network = Network(model, 2, recipes.resolve("x", "own", [f"freeze={freeze}"]))
        network.parameter_groups(0.75, freeze)
        network.train()(logmels)
        norms = zip(network.model.encoder.stem, model.encoder.stem, strict=True)
        assert all(torch.equal(a[1].running_var, b[1].running_var) for a, b in norms) == kept
        assert network.norm.training


@pytest.mark.full
@pytest.mark.parametrize("more", [[], ["freeze=2", "mixup=0"]])
def test_it_is_fine_tuned_and_predicts_what_was_tested(tmp_path, more):
    table = tone_files(tmp_path)
    result = atst.finetune(
        table, model="atst-nano", out=tmp_path / "out", workers=0, device="cpu", overrides=[*KEYS, *more]
    )
    assert result is not None
    assert result.value > 0.8
    with (tmp_path / "out" / "predictions.csv").open(newline="") as file:
        tested = {row["path"]: row["prediction"] for row in csv.DictReader(file)}
    atst.predict([tmp_path / path for path in tested], model=tmp_path / "out", out=tmp_path / "rows.csv")
    with (tmp_path / "rows.csv").open(newline="") as file:
        labels = [row["label"] for row in csv.DictReader(file)]
    assert labels == list(tested.values())
    if more:
        encoder = models.load(tmp_path / "out" / "model").encoder.state_dict()
        for key, value in models.load("atst-nano").encoder.state_dict().items():
            assert torch.equal(encoder[key], value), key
