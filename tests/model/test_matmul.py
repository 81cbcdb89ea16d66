import os
import subprocess
import sys
import threading

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from atst.model.encoder import Encoder
from atst.model.matmul import fast_products, fast_products_apply

SETTING = torch.backends.mkldnn.matmul
CODE = """
import torch
from atst.model.matmul import fast_products, fast_products_apply
with fast_products():
    print(torch.backends.cpu.get_cpu_capability(), fast_products_apply())
"""


@given(
    rows=st.integers(1, 70),
    inner=st.integers(1, 300),
    columns=st.integers(1, 70),
    batch=st.integers(1, 3),
    seed=st.integers(0, 2**32),
)
@settings(max_examples=50, deadline=None)
def test_products_are_those_of_float32(rows, inner, columns, batch, seed):
    numbers = torch.Generator().manual_seed(seed)
    left = torch.rand(batch, rows, inner, generator=numbers)
    right = torch.rand(batch, inner, columns, generator=numbers)
    with fast_products():
        product, single = left @ right, left[0] @ right[0]
    true = left.double() @ right.double()
    torch.testing.assert_close(product.double(), true, rtol=1e-5, atol=0)
    torch.testing.assert_close(single.double(), true[0], rtol=1e-5, atol=0)


def test_tokens_and_gradients_are_the_same_within_rounding():
    torch.manual_seed(0)
    encoder, logmels = Encoder("nano"), torch.randn(3, 64, 101)
    lengths = torch.tensor([101, 60, 30])
    found = []
    for ways in (fast_products, torch.enable_grad):
        encoder.zero_grad()
        with ways():
            tokens = encoder(logmels, lengths)[0]
            tokens[:, 0].square().sum().backward()
        found.append((tokens.detach(), encoder.patch_embed.weight.grad.clone()))
    torch.testing.assert_close(*(tokens for tokens, _ in found), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(*(gradient for _, gradient in found), rtol=1e-4, atol=1e-5)


def test_the_setting_goes_back_when_the_last_leaves():
    before = SETTING.fp32_precision
    inside, end = threading.Event(), threading.Event()

    def other():
        with fast_products():
            inside.set()
            end.wait(30)

    thread = threading.Thread(target=other)
    with fast_products():
        thread.start()
        assert inside.wait(30)
    applied = fast_products_apply()
    assert (SETTING.fp32_precision != before) == applied  # the other thread is still inside
    end.set()
    thread.join()
    assert not fast_products_apply()
    assert SETTING.fp32_precision == before
    assert torch.get_float32_matmul_precision() == "highest"


def test_what_the_user_has_set_stays():
    before = SETTING.fp32_precision
    SETTING.fp32_precision = "tf32"
    try:
        with fast_products():
            assert not fast_products_apply()
            assert SETTING.fp32_precision == "tf32"
        assert SETTING.fp32_precision == "tf32"
    finally:
        SETTING.fp32_precision = before


def test_other_devices_change_nothing():
    with fast_products(torch.device("cuda")):
        assert not fast_products_apply()
        assert torch.get_float32_matmul_precision() == "highest"


def test_a_processor_without_avx512_keeps_the_usual_products():
    environment = dict(os.environ, ATEN_CPU_CAPABILITY="avx2")
    done = subprocess.run(
        [sys.executable, "-c", CODE], env=environment, check=True, capture_output=True, text=True
    )
    assert done.stdout.split() in (["AVX2", "False"], ["DEFAULT", "False"])
