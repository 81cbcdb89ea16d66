"""Statistics of parts, merged, are those of the whole."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

import atst
from atst.model.moments import Moments


@given(st.lists(st.integers(1, 9), min_size=1, max_size=6), st.integers(0, 1000))
def test_parts_merge_to_the_whole(lengths, seed):
    generator = torch.Generator().manual_seed(seed)
    whole = torch.randn(sum(lengths), 3, generator=generator) * 10
    parts = torch.zeros(len(lengths), max(lengths), 3)
    for row, piece in zip(parts, whole.split(lengths), strict=True):
        row[: len(piece)] = piece
    valid = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    owners = torch.zeros(len(lengths), dtype=torch.long)
    merged = Moments.of(parts, valid).merge(owners, 1).pooled()[0]
    expected = torch.cat([whole.mean(0), whole.std(0, correction=0), whole.amax(0)])
    torch.testing.assert_close(merged, expected, atol=1e-3, rtol=1e-4)


def test_each_owner_gets_its_own_parts():
    tokens = torch.arange(12.0).view(4, 3, 1)
    merged = Moments.of(tokens).merge(torch.tensor([1, 0, 1, 0]), 2)
    assert merged.count.flatten().tolist() == [6, 6]
    assert merged.mean.flatten().tolist() == [7, 4]
    assert merged.maximum.flatten().tolist() == [11, 8]


def test_too_few_clips_leave_the_read_out_as_it_is():
    model = atst.load("random:conv-nano")
    model.whiten([torch.randn(64, 101) for _ in range(3)])
    assert not model.whitening
    assert np.isfinite(model.embed(np.ones(16000, np.float32), sample_rate=16000)).all()
