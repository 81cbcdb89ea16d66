"""The authors' fine-tuned checkpoints: what the classifier gives is what their code gave."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from atst.errors import ModelError
from atst.model import official, official_finetuned
from atst.model.classifier import Classifier
from golden import recipes
from golden.numbers import arrays, finetuned_state, lightning_checkpoint

CLASSES = 7
NARROW = {
    "head.linear.weight": torch.zeros(3, 100),
    "head.norm.running_mean": torch.zeros(100),
    "head.norm.running_var": torch.ones(100),
}


def written(path: Path, state: dict[str, Tensor]) -> Path:
    torch.save(lightning_checkpoint(state, arch="small", anchor_len=9.0), path)
    return path


def loaded(path: Path) -> Classifier:
    classifier = official_finetuned.load(path)
    assert classifier is not None
    return classifier


def test_logits_of_long_clips_are_the_published_features_times_the_head(tmp_path: Path) -> None:
    state = finetuned_state("small", CLASSES)
    classifier = loaded(written(tmp_path / "small.ckpt", state))
    golden = arrays("finetune_small")
    clips = [
        torch.from_numpy(recipes.mel_noise(seed, frames))
        for seed, frames in zip(golden["seeds"].tolist(), golden["length"].tolist(), strict=True)
    ]
    assert classifier.features == {"layers": 1, "pooling": "published", "clip_seconds": 12.0}
    pooled = classifier.encoder.embed_logmels(clips, layers=1, pooling="published")
    np.testing.assert_allclose(pooled, golden["features"], rtol=0, atol=1e-4)
    normed = (golden["features"] - state["head.norm.running_mean"].numpy()) / np.sqrt(
        state["head.norm.running_var"].numpy() + 1e-5
    )
    expected = normed @ state["head.linear.weight"].numpy().T + state["head.linear.bias"].numpy()
    found = classifier.head.logits(torch.from_numpy(pooled))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-3)


def test_features_of_several_blocks_are_told_by_the_width_of_the_head(tmp_path: Path) -> None:
    classifier = loaded(written(tmp_path / "four.ckpt", finetuned_state("nano", 3, layers=4)))
    assert classifier.features["layers"] == 4
    assert classifier.labels == ["0", "1", "2"]
    scores = classifier.scores([np.random.default_rng(0).normal(0, 0.1, 16000).astype(np.float32)])
    assert scores.shape == (1, 3)
    assert scores.sum() == pytest.approx(1)


def test_an_encoder_alone_is_no_classifier_and_a_classifier_no_encoder(tmp_path: Path) -> None:
    torch.save({"state_dict": {"model.teacher.encoder.x": torch.zeros(1)}}, tmp_path / "other.ckpt")
    assert official_finetuned.load(tmp_path / "other.ckpt") is None
    path = written(tmp_path / "nano.ckpt", finetuned_state("nano", 3))
    with pytest.raises(ModelError, match="fine-tuned checkpoint of the authors; atst convert"):
        official.load(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"encoder.encoder.norm.bias": None}, "missing: encoder.norm.bias"),
        ({"encoder.encoder.extra": torch.zeros(1)}, "unexpected: encoder.extra"),
        ({"head.linear.bias": None}, "its head is not BatchNorm and a linear layer"),
        ({"head.linear.bias": torch.zeros(4)}, "the shapes of its head"),
        ({"head.norm.running_var": torch.full((256,), -1.0)}, "invalid values"),
        ({"head.linear.weight": torch.full((3, 256), torch.nan)}, "invalid values"),
        ({"mlp.0.weight": torch.zeros(2)}, "unexpected tensors: mlp.0.weight"),
        ({"head.mlp.weight": torch.zeros(2)}, "its head is not BatchNorm"),
        (NARROW, "its head takes 100 values"),
    ],
)
def test_what_is_missing_or_wrong_is_one_line(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    state = finetuned_state("nano", 3) | changes
    path = written(tmp_path / "a.ckpt", {key: value for key, value in state.items() if value is not None})
    with pytest.raises(ModelError, match=message) as caught:
        official_finetuned.load(path)
    assert "\n" not in str(caught.value)
