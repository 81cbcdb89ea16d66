"""Files that `torch.save` writes."""

import resource

import pytest
import torch

from atst.output import tensors


def test_a_full_disk_is_told_as_the_system_tells_it(tmp_path):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(OSError, match="too large"):
            tensors.save({"a": torch.ones(10_000)}, tmp_path / "a.pt")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    tensors.save({"a": torch.ones(10_000)}, tmp_path / "a.pt")
    assert torch.load(tmp_path / "a.pt", weights_only=True)["a"].sum() == 10_000
