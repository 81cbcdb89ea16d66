"""The model that comes with the package: the weights that were trained, in half precision, offline."""

from importlib import resources
from pathlib import Path

import numpy as np
import pytest

import atst
from atst.errors import UsageError
from atst.model.load import BUNDLED

GOLDEN = Path(__file__).parents[1] / "golden" / "atst_nano.npz"


def test_its_embeddings_are_those_of_the_trained_weights():
    golden = np.load(GOLDEN)  # of the float32 weights that the training left
    sounds = golden["sounds"].astype(np.float32)
    vectors = atst.load("atst-nano").embed(sounds, sample_rate=16000, levels="stem-last")
    norms = np.linalg.norm(vectors, axis=1) * np.linalg.norm(golden["embeddings"], axis=1)
    assert ((vectors * golden["embeddings"]).sum(1) / norms > 0.9999).all()


@pytest.mark.parametrize("name", BUNDLED)
def test_every_bundled_model_is_small_has_a_card_and_loads(name):
    folder = resources.files("atst.model") / "weights" / name
    sizes = [len(file.read_bytes()) for file in folder.iterdir()]
    assert sum(sizes) < 15e6
    assert "trained on" in (folder / "README.md").read_text()
    model = atst.load(name)
    assert model.name == name
    assert model.readout().pooling == "whitened"


def test_a_training_may_start_from_it(tmp_path):
    keys = ["max_steps=2", "batch_size=4", "checkpoint_steps=1", "precision=float32", "keep_checkpoints=3"]
    options = {"recipe": "nano", "overrides": keys, "workers": 0, "device": "cpu", "init": "atst-nano"}
    for out in (tmp_path / "whole", tmp_path / "cut"):
        atst.pretrain(["synthetic:20"], out=out, **options)
    for late in ("checkpoints/step-00000002.ckpt", "report.html"):
        (tmp_path / "cut" / late).unlink()
    atst.pretrain(["synthetic:20"], out=tmp_path / "cut", resume=True, **options)
    assert atst.load(tmp_path / "cut").fingerprint == atst.load(tmp_path / "whole").fingerprint
    with pytest.raises(UsageError, match="conv"):
        atst.pretrain(["synthetic:20"], out=tmp_path / "other", **options | {"recipe": "nano-paper"})
