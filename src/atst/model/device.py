"""Which device to compute on."""

import platform

import torch

from atst.cores import limit_threads
from atst.errors import UsageError, unknown

DEVICES = ("auto", "cpu", "cuda", "mps")


def resolve(name: str) -> torch.device:
    """The torch device for `--device`: `auto` takes CUDA, then MPS, then the CPU.

    Limits PyTorch's threads to the cores that the process may use.

    Raises `UsageError` for an unknown name or a device this machine lacks.
    """
    if name not in DEVICES:
        raise unknown("device", name, DEVICES)
    limit_threads()
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return torch.device(next(d for d in ("cuda", "mps", "cpu") if available[d]))
    if not available[name]:
        raise UsageError(f"--device {name}: not available to PyTorch on this machine; try --device auto.")
    return torch.device(name)


def described(device: torch.device, count: int = 1) -> str:
    """Number, kind and name of devices, for results and messages."""
    chip = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return f"{count} x {device.type} ({chip})"
