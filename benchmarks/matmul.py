"""Float32 products of matrices on a CPU: as PyTorch computes them, and as `atst.model.matmul` has it do.

    python benchmarks/matmul.py [--threads 1] [--repeats 15]

The shapes are those of the encoders (a batch of 8 clips of 10 s), of the front end and of a probe. Both ways
take turns in one process, and the fastest of the repeats counts. The last column is the largest difference,
relative to the largest value.
"""

import argparse
import time
from contextlib import nullcontext

import torch
from torch import Tensor

from atst.model.matmul import fast_products, fast_products_apply
from atst.output.markup import markdown
from atst.training import memory

ROWS = 8 * 251
SHAPES = {
    "nano, MLP in": ((ROWS, 128), (128, 512)),
    "nano, MLP out": ((ROWS, 512), (512, 128)),
    "small, MLP in": ((ROWS, 384), (384, 1536)),
    "small, MLP out": ((ROWS, 1536), (1536, 384)),
    "base, MLP in": ((ROWS, 768), (768, 3072)),
    "small, scores": ((48, 251, 64), (48, 64, 251)),
    "small, values": ((48, 251, 251), (48, 251, 64)),
    "mel bands, 6 s": ((601, 250), (250, 16)),
    "probe, 12 heads": ((1024, 4608), (4608, 120)),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=15)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    memory.keep()
    with fast_products():
        if not fast_products_apply():
            print("this processor keeps PyTorch's usual products: both columns are the same")
    rows = []
    for name, (first, second) in SHAPES.items():
        left, right = torch.randn(first), torch.randn(second)
        usual, fast, error = compared(left, right, options.repeats)
        work = 2e-9 * left.numel() * second[-1]
        shape = f"{'x'.join(map(str, first))} by {'x'.join(map(str, second))}"
        rows.append(
            [name, shape, f"{work / usual:.0f}", f"{work / fast:.0f}", f"{usual / fast:.2f}", f"{error:.0e}"]
        )
    print(markdown(["product", "shapes", "usual, GFLOP/s", "here, GFLOP/s", "ratio", "difference"], rows))


def compared(left: Tensor, right: Tensor, repeats: int) -> tuple[float, float, float]:
    """Seconds of the usual product and of ours, and the difference of the results."""
    times: tuple[list[float], list[float]] = [], []
    results = [left @ right, left @ right]
    for repeat in range(repeats + 2):
        for way, (context, taken) in enumerate(zip((nullcontext, fast_products), times, strict=True)):
            with context():
                start = time.perf_counter()
                results[way] = left @ right
                if repeat > 1:
                    taken.append(time.perf_counter() - start)
    error = (results[0] - results[1]).abs().max() / results[0].abs().max()
    return min(times[0]), min(times[1]), float(error)


if __name__ == "__main__":
    main()
