import pytest
import torch

from atst.training.side_stream import beside


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_what_is_computed_beside_is_there_for_the_main_stream(device):
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no GPU")
    where = torch.device(device)
    given = [torch.full((512, 512), float(number)) for number in range(20)]
    sums = []
    for number, tensor in enumerate(given):
        if number % 2:
            tensor = tensor.to(where)  # as DDP brings it
        with beside(where, [tensor]) as kept:
            [made] = kept(tensor.to(where, non_blocking=True) @ torch.ones(512, 512, device=where))
        sums.append((made @ torch.ones(512, 512, device=where))[0, 0])
    assert [float(total) for total in sums] == [512.0**2 * number for number in range(20)]
