"""Networks divided over the processes that train them, instead of a copy in each (PyTorch's FSDP2)."""

from typing import Any

import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor


def divide(network: nn.Module, parts: tuple[type[nn.Module], ...], method: str, mesh: DeviceMesh) -> None:
    """Divide each parameter of a network over the processes of a mesh, along its first dimension.

    Modules of the kinds `parts` have their parameters whole for as long as they compute; the others are
    whole from a call of `method`, through which the network has to be used, to the end of its backward pass.
    All processes take the values of the first.
    """
    for parameter in network.parameters():
        parameter.data = parameter.data.contiguous()  # those of convolutions are not
    for value in network.state_dict().values():
        dist.broadcast(value, 0)
    for module in network.modules():
        if isinstance(module, parts):
            fully_shard(module, mesh=mesh)
    fully_shard(network, mesh=mesh)
    register_fsdp_forward_method(network, method)


def whole(state: Any, keep: bool = True) -> Any:
    """A state dict with whole tensors, on the CPU, for divided ones; with None for them unless `keep`.

    To be called in every process.
    """
    if isinstance(state, dict):
        return {key: whole(value, keep) for key, value in state.items()}
    if isinstance(state, DTensor):
        tensor = state.full_tensor()
        return tensor.to("cpu", copy=True) if keep else None  # gathered, it is a view of more
    return state


def own(value: Tensor) -> Tensor:
    """This process's part of a divided tensor, which can be empty; another tensor as it is."""
    return value.to_local() if isinstance(value, DTensor) else value


def part(value: Tensor, like: DTensor) -> Tensor:
    """This process's part of a whole tensor, which each has; one of another shape stays as it is."""
    if value.shape != like.shape:
        return value
    return distribute_tensor(value, like.device_mesh, like.placements, src_data_rank=None)
