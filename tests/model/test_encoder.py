from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from atst.errors import UsageError
from atst.model.encoder import MAX_PATCHES, SIZES, Encoder
from golden import recipes
from golden.numbers import arrays, encoder_state, table

TOLERANCE = 1e-4
BF16_TOLERANCE = 5e-2  # largest seen 2.2e-2 in CLS tokens, on values up to 4.6


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    encoder = Encoder("small").eval()
    encoder.load_state_dict(encoder_state())
    return encoder


@pytest.fixture(scope="module", autouse=True)
def no_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


@pytest.fixture(scope="module")
def batch() -> tuple[Tensor, Tensor]:
    """Clips of 601 and 333 frames, padded to 601."""
    logmel = recipes.padded_mels([301, 302], [601, 333], 601)[:, 0]
    np.testing.assert_array_equal(logmel[:, ::16, ::100], arrays("encoder_small")["mel_check"])
    return torch.from_numpy(logmel), torch.tensor([601, 333])


def test_forward_equals_the_reference(encoder: Encoder, batch: tuple[Tensor, Tensor]) -> None:
    (tokens,) = encoder(*batch)
    assert tokens.shape == (2, 151, 384)
    np.testing.assert_allclose(tokens[:, 0], arrays("encoder_small")["forward"], rtol=0, atol=TOLERANCE)


def test_padding_changes_nothing(encoder: Encoder, batch: tuple[Tensor, Tensor]) -> None:
    logmel, lengths = batch
    (alone,) = encoder(logmel[1:, :, :333])
    np.testing.assert_allclose(
        alone[:, 0], arrays("encoder_small")["forward_333_alone"], rtol=0, atol=TOLERANCE
    )
    filled = logmel.clone()
    filled[1, :, 333:] = 7.0
    torch.testing.assert_close(
        encoder(filled, lengths)[0][1, :84], encoder(logmel, lengths)[0][1, :84], rtol=0, atol=0
    )


def test_every_layer_equals_the_reference(encoder: Encoder, batch: tuple[Tensor, Tensor]) -> None:
    golden = arrays("encoder_small")
    tokens = torch.stack(encoder(*batch, layers=12))  # (12, 2, 151, 384)
    np.testing.assert_allclose(tokens[:, :, 0], golden["inter_cls"], rtol=0, atol=TOLERANCE)
    sampled = tokens[:, :, ::10, ::8]
    np.testing.assert_allclose(sampled, golden["inter_every10tok_every8dim"], rtol=0, atol=TOLERANCE)
    wide = tokens.double()
    norms = torch.stack([wide[:, 0].norm(dim=(1, 2)), wide[:, 1, : 1 + 333 // 4].norm(dim=(1, 2))], dim=1)
    np.testing.assert_allclose(norms, golden["inter_l2_valid"], rtol=1e-5)
    np.testing.assert_allclose(wide.norm(dim=(2, 3)), golden["inter_l2_all"], rtol=1e-5)


def test_bfloat16_stays_near_the_reference(encoder: Encoder, batch: tuple[Tensor, Tensor]) -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        tokens = torch.stack(encoder(*batch, layers=12))
    difference = np.abs(tokens[:, :, 0].float().numpy() - arrays("encoder_small")["inter_cls"])
    assert difference.max() < BF16_TOLERANCE
    assert difference.mean() < BF16_TOLERANCE / 10


def test_names_shapes_and_count_are_the_authors(encoder: Encoder) -> None:
    ours = {key: tuple(value.shape) for key, value in encoder.state_dict().items()}
    assert ours == {key: tuple(value.shape) for key, value in encoder_state().items()}
    count = sum(value.numel() for value in encoder.state_dict().values())
    assert count == table("state_dict_small")["n_parameters"]["student_encoder"]


@pytest.mark.parametrize("size", [size for size in SIZES if size != "base"])  # base: as small, but slow
def test_every_size_is_finite_and_trains_every_parameter(size: str) -> None:
    torch.manual_seed(0)
    encoder = Encoder(size, drop_path=0.0)
    with torch.enable_grad():
        (tokens,) = encoder(torch.randn(2, 64, 30), torch.tensor([30, 17]))
        assert tokens.shape == (2, 8, SIZES[size][0])
        tokens.square().sum().backward()
    without = [name for name, p in encoder.named_parameters() if p.grad is None]
    assert without == ["mask_embed"]
    assert all(p.grad.isfinite().all() for p in encoder.parameters() if p.grad is not None)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(4, 200), min_size=1, max_size=5), st.integers(0, 40))
def test_a_clip_does_not_depend_on_its_batch(lengths: list[int], extra: int) -> None:
    torch.manual_seed(1)
    encoder = Encoder("nano").eval()
    clips = [torch.randn(64, length) for length in lengths]
    width = max(lengths) + extra
    padded = torch.stack([torch.nn.functional.pad(clip, (0, width - clip.shape[1])) for clip in clips])
    (together,) = encoder(padded, torch.tensor(lengths))
    for clip, tokens in zip(clips, together, strict=True):
        (alone,) = encoder(clip[None])
        torch.testing.assert_close(tokens[: alone.shape[1]], alone[0], rtol=0, atol=1e-5)


def test_longest_pass_is_1003_frames() -> None:
    encoder = Encoder("nano").eval()
    assert encoder(torch.zeros(1, 64, 1003))[0].shape[1] == 1 + MAX_PATCHES
    with pytest.raises(ValueError, match="1003"):
        encoder(torch.zeros(1, 64, 1004))


def test_drop_path_acts_per_sample_in_training_only() -> None:
    torch.manual_seed(0)
    encoder = Encoder("nano", drop_path=0.5)
    assert [block.drop_path for block in encoder.blocks] == pytest.approx([0.0, 1 / 6, 1 / 3, 0.5])
    same = torch.randn(1, 64, 20).expand(8, -1, -1)
    (trained,) = encoder(same)
    assert len({tuple(row.tolist()) for row in trained[:, 0]}) > 1
    (evaluated,) = encoder.eval()(same)
    torch.testing.assert_close(evaluated, evaluated[:1].expand_as(evaluated))


def test_kept_branches_are_scaled_so_that_the_mean_stays() -> None:
    torch.manual_seed(0)
    block = Encoder("nano", drop_path=0.4).blocks[-1]
    dropped = block.drop(torch.ones(20_000, 1, 1))
    assert dropped.unique().tolist() == pytest.approx([0.0, 1 / 0.6])
    assert float(dropped.mean()) == pytest.approx(1.0, abs=0.02)


def test_unknown_size_lists_the_valid_ones() -> None:
    with pytest.raises(UsageError, match=r"'smal'.*small"):
        Encoder("smal")
