"""Attention by plain matrix products against PyTorch's fused kernel: what `encoder.explicit_is_faster` knows.

    python benchmarks/attention.py [--device cpu] [--threads 1] [--clips 32] [--repeats 5]

38, 76, 151, 251, 751 and 1501 tokens are segments of 1.5, 3, 6, 10, 30 and 60 s. Both ways take turns, and
the median of each counts. On a CPU the clock is the processor time of the process, so that a busy machine
disturbs little.
A ratio above 1 says that the plain products are faster. `chosen` is what the encoder takes.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from atst.model.encoder import explicit_is_faster
from atst.model.matmul import fast_products
from atst.training import memory

HEADS, HEAD_WIDTH = 3, 64  # of the tiny encoder; all sizes have heads of 64
TOKENS = (38, 76, 151, 251, 751, 1501)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--clips", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    memory.keep()
    print("| precision | tokens | pass | plain, ms | fused, ms | fused / plain | chosen |")
    print("|---|---|---|---|---|---|---|")
    for dtype in (torch.float32, torch.bfloat16):
        for tokens in TOKENS:
            qkv = torch.randn(options.clips, tokens, 3, HEADS, HEAD_WIDTH, device=options.device, dtype=dtype)
            for name, backward in (("forward", False), ("forward + backward", True)):
                ways = [lambda way=way, b=backward, x=qkv: attend(way, x, b) for way in (plain, fused)]
                with fast_products():
                    chosen = "plain" if explicit_is_faster(qkv.transpose(1, 3)) else "fused"
                    first, second = take_turns(ways, options.repeats, options.device)
                name_of = str(dtype).removeprefix("torch.")
                print(
                    f"| {name_of} | {tokens} | {name} | {first * 1e3:.2f} | {second * 1e3:.2f} "
                    f"| {second / first:.2f} | {chosen} |",
                    flush=True,
                )


def plain(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
    return scores.softmax(dim=-1).to(v.dtype) @ v


def fused(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return nn.functional.scaled_dot_product_attention(q, k, v)


def attend(way: Callable[[Tensor, Tensor, Tensor], Tensor], qkv: Tensor, backward: bool) -> None:
    """One pass as in the encoder: under autocast when in bfloat16, heads split off one tensor."""
    qkv = qkv.detach().requires_grad_(backward)
    low = qkv.dtype == torch.bfloat16
    with torch.autocast(qkv.device.type, torch.bfloat16, enabled=low), torch.set_grad_enabled(backward):
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        out = way(q, k, v).transpose(1, 2).reshape(len(qkv), -1, HEADS * HEAD_WIDTH)
    if backward:
        out.backward(torch.ones_like(out))


def take_turns(ways: list[Callable[[], None]], repeats: int, device: str) -> list[float]:
    """Median seconds of each way; a turn is as many calls as 50 ms hold."""
    clock = time.process_time if device == "cpu" else time.perf_counter
    counts = []
    for way in ways:
        way()
        counts.append(max(1, int(0.05 / max(timed(way, 2, clock, device), 1e-6))))
    times: list[list[float]] = [[] for _ in ways]
    for _ in range(repeats):
        for way, count, taken in zip(ways, counts, times, strict=True):
            taken.append(timed(way, count, clock, device))
    return [statistics.median(taken) for taken in times]


def timed(way: Callable[[], None], count: int, clock: Callable[[], float], device: str) -> float:
    start = clock()
    for _ in range(count):
        way()
    if device != "cpu":
        torch.cuda.synchronize()
    return (clock() - start) / count


if __name__ == "__main__":
    main()
