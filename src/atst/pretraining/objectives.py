"""How far outputs of the student are from those of the teacher, and how widely outputs are spread."""

import torch
import torch.distributed as dist
from torch import Tensor, nn

from atst.model.processes import place


def distance(prediction: Tensor, target: Tensor) -> Tensor:
    """Mean over the batch of 2 - 2 cos: 0 for equal directions, 4 for opposite ones."""
    return (2.0 - 2.0 * nn.functional.cosine_similarity(prediction, target, dim=-1)).mean()


def contrast(prediction: Tensor, target: Tensor, temperature: float) -> Tensor:
    """InfoNCE: cross-entropy of finding the own target among those of the whole batch, of all devices."""
    prediction = nn.functional.normalize(prediction, dim=-1)
    target = nn.functional.normalize(target, dim=-1)
    rank, world = place()
    if world > 1:
        parts = [torch.empty_like(target) for _ in range(world)]
        dist.all_gather(parts, target)  # without gradients: the teacher has none
        target = torch.cat(parts)
    own = torch.arange(len(prediction), device=prediction.device) + rank * len(prediction)
    return nn.functional.cross_entropy(prediction @ target.T / temperature, own)


def output_std(outputs: Tensor) -> Tensor:
    """Mean over dimensions of the standard deviation of the L2-normalised rows of `(N, 256)`.

    1/16 when the directions are spread uniformly, near 0 when all inputs give one output.
    """
    unit = nn.functional.normalize(outputs, dim=-1)
    return (unit.var(dim=0) + 1e-6).sqrt().mean()


def effective_rank(outputs: Tensor) -> Tensor:
    """Exponential of the entropy of the normalised singular values of the centred rows of `(N, 256)`.

    Between 1 and 256; RankMe (arXiv 2210.02885) with the mean removed.
    """
    unit = nn.functional.normalize(outputs.double().nan_to_num(), dim=-1)
    centred = unit - unit.mean(dim=0)
    variances = torch.linalg.eigvalsh(centred.T @ centred).clamp_min(0.0)
    share = variances.sqrt() / variances.sqrt().sum().clamp_min(1e-30)
    return torch.special.entr(share).sum().exp()


def share_of_rows(rows: Tensor, dtype: torch.dtype) -> Tensor:
    """This process's number of true entries over the mean of all processes': what weighs its mean of them."""
    count = rows.sum().to(dtype)
    total = count.clone()
    world = place()[1]
    if world > 1:
        dist.all_reduce(total)
    return world * count / total
