import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from atst.model.encoder import Encoder, forward_flops
from atst.model.frontend import SAMPLE_RATE, n_frames
from atst.pretraining import recipe as recipes
from atst.pretraining.flops import flops_per_clip
from atst.pretraining.module import PretrainingModule


@pytest.fixture(autouse=True)
def countable_attention():
    """PyTorch does not count its fused CPU kernel."""
    with sdpa_kernel(SDPBackend.MATH):
        yield


@pytest.mark.parametrize(("size", "frames"), [("nano", 151), ("tiny", 601)])
def test_the_encoders_formula_is_what_pytorch_counts(size, frames):
    encoder = Encoder(size).eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        encoder(torch.randn(2, 64, frames))
    assert counter.get_total_flops() == 2 * forward_flops(size, frames)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("nano-paper", []),
        ("tiny", ["segment_seconds=1"]),
        ("nano", []),
        ("nano", ["token_drop=0"]),
        ("nano-paper", ["projector_input=statistics"]),
    ],
)
def test_the_formula_of_a_step_is_near_what_pytorch_counts(name, changes):
    recipe = recipes.resolve(name, changes)
    pair = PretrainingModule(recipe).pair
    frames = n_frames(round(recipe.segment_seconds * SAMPLE_RATE))
    with FlopCounterMode(display=False) as counter:
        loss, _ = pair.loss(torch.randn(4, 64, frames), torch.randn(4, 64, frames))
        loss.backward()
    # The input needs no gradient, which the formula does not know.
    assert counter.get_total_flops() == pytest.approx(4 * flops_per_clip(recipe), rel=0.03)
