"""Several processes that train together compute what one would with the batches of all of them.

BatchNorm takes its statistics over all batches; PyTorch's own SyncBatchNorm refuses CPU tensors. Random draws
are made for the rows of all processes, seeded alike, and each keeps those of its own.
"""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn


def place() -> tuple[int, int]:
    """The number of this process, from 0, and that of all."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


def draw_rows(rows: int, columns: int, device: torch.device) -> Tensor:
    """Uniform draws `(rows, columns)` of this process, out of those for the equally many of each."""
    rank, world = place()
    return torch.rand(world * rows, columns, device=device)[rank * rows : (rank + 1) * rows]


class _OverProcesses(nn.modules.batchnorm._BatchNorm):
    """Differentiable through the exchange, CPU included."""

    def forward(self, input: Tensor) -> Tensor:
        if not self.training or place()[1] == 1:
            return super().forward(input)
        with torch.autocast(input.device.type, enabled=False):
            return self._synchronised(at_least_float32(input)).to(input.dtype)

    def _synchronised(self, x: Tensor) -> Tensor:
        dims = [dim for dim in range(x.ndim) if dim != 1]
        count = x.new_tensor(x.numel() / x.shape[1])
        dist.all_reduce(count)
        mean = _AllReduce.apply(x.sum(dims, keepdim=True)) / count
        variance = _AllReduce.apply((x - mean).square().sum(dims, keepdim=True)) / count
        self._track(mean.detach().flatten(), variance.detach().flatten() * count / (count - 1))
        normalised = (x - mean) * (variance + self.eps).rsqrt()
        return normalised * self.weight.view_as(mean) + self.bias.view_as(mean) if self.affine else normalised

    @torch.no_grad()
    def _track(self, mean: Tensor, variance: Tensor) -> None:
        assert self.num_batches_tracked is not None
        self.num_batches_tracked += 1
        for running, value in ((self.running_mean, mean), (self.running_var, variance)):
            assert running is not None
            running.lerp_(value, self.momentum or 0.0)


class BatchNorm(_OverProcesses, nn.BatchNorm1d):
    """BatchNorm of `(B, C)` over the batches of all processes."""


class BatchNorm2d(_OverProcesses, nn.BatchNorm2d):
    """BatchNorm of `(B, C, F, T)` over the batches of all processes."""


class _AllReduce(torch.autograd.Function):
    """Sum over processes; so is its gradient, since every process's loss depends on the sum."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        total = tensor.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.clone()
        dist.all_reduce(total)
        return total


def at_least_float32(tensor: Tensor) -> Tensor:
    """The tensor in float32, or as it is if it is wider."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))
