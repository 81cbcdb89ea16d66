#!/usr/bin/env bash
# PyTorch 2.13 on AMD processors with AVX-512: its float32 products of matrices (MKL 2024.2) run at half the speed of
# oneDNN, which the same wheel holds. Told that it may round to bfloat16
# (torch.backends.mkldnn.matmul.fp32_precision = "bf16"), PyTorch gives them to oneDNN, and without AMX nothing is
# rounded: the result is as near to float64 as before. The same setting makes PyTorch's fused attention several times
# slower on short sequences. Exits 0 while that is so, and where the processor is another.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if ! grep -q AuthenticAMD /proc/cpuinfo || ! grep -q avx512_bf16 /proc/cpuinfo || grep -q amx_bf16 /proc/cpuinfo; then
    echo "not an AMD processor with AVX-512 and without AMX: nothing to see"
    exit 0
fi
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check torch==2.13.0 numpy==2.4.6
cd "$folder"
venv/bin/python - <<'PYTHON'
import sys
import time

import torch

setting = torch.backends.mkldnn.matmul
torch.set_num_threads(1)
left, right = torch.randn(2048, 1024), torch.randn(1024, 1024)
true = left.double() @ right.double()
query, key, value = torch.randn(3, 32, 3, 38, 64).unbind()


def least(way):
    way()
    times = []
    for _ in range(20):
        start = time.perf_counter()
        way()
        times.append(time.perf_counter() - start)
    return min(times)


def measured(precision):
    setting.fp32_precision = precision
    taken = least(lambda: left @ right)
    attention = least(lambda: torch.nn.functional.scaled_dot_product_attention(query, key, value))
    error = float((left @ right - true).abs().max())
    print(f"{precision}: {2e-9 * 2048 * 1024 * 1024 / taken:.0f} GFLOP/s, error {error:.1e}, "
          f"fused attention of 38 tokens {1e3 * attention:.2f} ms")
    return taken, error, attention


print("torch", torch.__version__, torch.backends.cpu.get_cpu_capability())
exact, rounded = measured("ieee"), measured("bf16")
rough = float((left.bfloat16().double() @ right.bfloat16().double() - true).abs().max())
print(f"a product of rounded matrices: error {rough:.1e}")
same = exact[0] > 1.3 * rounded[0] and rounded[1] < 0.01 * rough and rounded[2] > 1.5 * exact[2]
sys.exit(0 if same else "the behaviour has changed")
PYTHON
