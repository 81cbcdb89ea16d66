from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

import atst
from atst.errors import AudioError, UsageError

RATE = 16000


@pytest.fixture(scope="module")
def model():
    return atst.load("random:nano")


def noise(seconds: float) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 0.1, round(seconds * RATE)).astype(np.float32)


@pytest.mark.parametrize("seconds", [0.02, 1.0, 6.7, 61.0])
def test_times_are_those_of_the_frames_with_weights_of_each_head(model, seconds):
    times, weights = model.attention(noise(seconds), sample_rate=RATE)
    np.testing.assert_array_equal(times, model.embed_frames(noise(seconds), sample_rate=RATE)[0])
    assert weights.shape == (2, len(times))
    assert weights.dtype == np.float32
    assert (weights > 0).all()
    assert (weights[:, :150].sum(1) < 1).all()  # the first 6 s, without what CLS gives itself


def test_weights_are_those_the_block_computes(model):
    """The values mixed by them are the block's output at its CLS token."""
    sound = torch.from_numpy(noise(1.0))
    block = model.encoder.blocks[-1].attn
    _, weights = model.attention(sound.numpy(), sample_rate=RATE)
    seen = {}
    hook = block.register_forward_hook(lambda _, inputs, output: seen.update(x=inputs[0], out=output))
    with torch.no_grad():
        model.encoder(model.frontend(sound[None])[:, :, :100])
        hook.remove()
        values = block.qkv(seen["x"])[0, :, 2 * 128 :].view(26, 2, 64)  # token, head, value
        full = torch.from_numpy(weights)
        own = 1 - full.sum(1, keepdim=True)
        mixed = torch.einsum("hp,phd->hd", torch.cat([own, full], 1), values).reshape(-1)
        torch.testing.assert_close(block.proj(mixed), seen["out"][0, 0], rtol=0, atol=1e-5)


def test_models_without_cls_are_refused(model):
    for name in ("logmel", "random:conv-nano"):
        with pytest.raises(UsageError, match=f"{name} has no CLS token"):
            atst.embed([], model=name, attention="x.html")


def test_the_page_shows_each_recording(tmp_path: Path):
    for name in ("one", "two <b>"):
        soundfile.write(tmp_path / f"{name}.wav", noise(1.5), RATE)
    atst.embed([tmp_path], model="random:nano", attention=tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert page.count("data:image/png") == 2
    assert "two &lt;b&gt;.wav" in page
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.wav", "page.html", "two <b>.wav"]


def test_page_and_table_are_written_together(tmp_path: Path):
    soundfile.write(tmp_path / "one.wav", noise(0.5), RATE)
    how = {"attention": tmp_path / "a.html", "out": tmp_path / "a.npz", "channel": 0, "partial": True}
    atst.embed([tmp_path], model="random:nano", **how)
    assert {"a.html", "a.npz"} <= {path.name for path in tmp_path.iterdir()}


def test_mistakes_are_named(tmp_path: Path):
    (tmp_path / "bad.wav").write_bytes(b"RIFF" + bytes(40))
    with pytest.raises(AudioError, match=r"bad\.wav"):
        atst.embed([tmp_path], model="random:nano", attention=tmp_path / "a.html")
    with pytest.raises(UsageError, match=r"--out FILE\.parquet"):
        atst.embed([tmp_path], model="random:nano")


@pytest.mark.parametrize("name", ["random:nano", "random:conv-nano"])
def test_a_training_step_on_waveforms_reaches_every_parameter(name):
    waveforms = torch.from_numpy(noise(2.0)).view(2, -1)
    trained = atst.load(name).train()
    head = torch.nn.Linear(trained.embedding_size, 3)
    optimiser = torch.optim.SGD([*trained.parameters(), *head.parameters()], lr=0.1)
    before = trained.fingerprint
    loss = torch.nn.functional.cross_entropy(head(trained(waveforms)), torch.tensor([0, 2]))
    loss.backward()
    unused = [name for name, p in trained.named_parameters() if p.requires_grad and p.grad is None]
    assert unused == []
    optimiser.step()
    assert trained.fingerprint != before


@pytest.mark.parametrize("name", ["random:nano", "random:conv-nano"])
def test_the_module_gives_what_embed_gives(name):
    waveforms, model = noise(3.0).reshape(2, -1), atst.load(name)
    with torch.no_grad():
        vectors = model(torch.from_numpy(waveforms), layers=2)
    np.testing.assert_allclose(vectors, model.embed(waveforms, sample_rate=RATE, layers=2), atol=1e-5)
