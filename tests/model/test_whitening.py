import pytest
import torch

from atst.model.whitening import DIRECTIONS, EXPONENT, Whitening


@pytest.mark.parametrize(("clips", "values"), [(60, 300), (300, 40), (1200, 1500)])
def test_directions_and_gains_are_those_of_a_singular_value_decomposition(clips, values):
    numbers = torch.Generator().manual_seed(0)
    strength = torch.logspace(0, -1, values)
    mixed = torch.randn(values, values, generator=numbers)
    vectors = torch.randn(clips, values, generator=numbers) * strength @ mixed + 3.0
    fitted = Whitening.fit(vectors)
    standard = (vectors - vectors.mean(0)) / (vectors.std(0, correction=0) + 1e-6)
    _, singular, directions = torch.linalg.svd(standard.double(), full_matrices=False)
    count = min(DIRECTIONS, clips // 4, values)
    assert fitted.directions.shape == (count, values)
    same = (fitted.directions.double() * directions[:count]).sum(1).abs()
    torch.testing.assert_close(same, torch.ones_like(same), rtol=0, atol=1e-4)  # either sign
    gains = (singular[:count] / singular[count - 1]) ** (-2 * EXPONENT)
    torch.testing.assert_close(fitted.gains.double(), gains, rtol=1e-4, atol=0)


def test_clips_that_are_all_alike_give_numbers():
    whitened = Whitening.fit(torch.ones(8, 30))(torch.ones(2, 30))
    assert whitened.isfinite().all()
