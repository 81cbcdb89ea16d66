import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from atst.model.encoder import Encoder, forward_flops
from atst.pretraining import TeacherStudent
from atst.pretraining.flops import flops_per_clip


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


@pytest.mark.parametrize(("size", "frames"), [("nano", 151), ("tiny", 301)])
def test_the_formula_of_a_step_is_near_what_pytorch_counts(size, frames):
    pair = TeacherStudent(size)
    with FlopCounterMode(display=False) as counter:
        loss, _ = pair.loss(torch.randn(4, 64, frames), torch.randn(4, 64, frames))
        loss.backward()
    # The input needs no gradient, which the formula does not know.
    assert counter.get_total_flops() == pytest.approx(4 * flops_per_clip(size, frames), rel=0.03)
