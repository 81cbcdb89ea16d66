import torch

from atst.training.peak import matmul_peak


def test_the_peak_is_that_of_large_matrices():
    assert matmul_peak("float32", torch.device("cpu")) > 1e8  # a core does a hundred times that
