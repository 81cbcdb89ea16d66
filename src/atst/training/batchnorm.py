"""BatchNorm whose statistics are those of the batches of all devices together."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn


class BatchNorm(nn.BatchNorm1d):
    """BatchNorm over the batches of all processes; differentiable through the exchange, CPU included.

    PyTorch's own SyncBatchNorm refuses CPU tensors.
    """

    def forward(self, input: Tensor) -> Tensor:
        if not (
            self.training and dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
        ):
            return super().forward(input)
        with torch.autocast(input.device.type, enabled=False):
            return self._synchronised(at_least_float32(input)).to(input.dtype)

    def _synchronised(self, x: Tensor) -> Tensor:
        count = x.new_tensor(float(len(x)))
        dist.all_reduce(count)
        mean = _AllReduce.apply(x.sum(0)) / count
        variance = _AllReduce.apply((x - mean).square().sum(0)) / count
        self._track(mean.detach(), variance.detach() * count / (count - 1))
        normalised = (x - mean) * (variance + self.eps).rsqrt()
        return normalised * self.weight + self.bias if self.affine else normalised

    @torch.no_grad()
    def _track(self, mean: Tensor, variance: Tensor) -> None:
        assert self.num_batches_tracked is not None
        self.num_batches_tracked += 1
        for running, value in ((self.running_mean, mean), (self.running_var, variance)):
            assert running is not None
            running.lerp_(value, self.momentum or 0.0)


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
