"""Statistics over time; those of several windows are merged into those of all their tokens together."""

from dataclasses import dataclass

import torch
from torch import Tensor

from atst.model.processes import at_least_float32

LEAST_VARIANCE = 1e-8  # is added
STATISTICS = ("mean", "standard deviation", "maximum")


@dataclass
class Moments:
    """Of N stretches of tokens: count `(N, 1)`, mean, sum of squared deviations and maximum `(N, F)`."""

    count: Tensor
    mean: Tensor
    squares: Tensor
    maximum: Tensor

    @classmethod
    def of(cls, tokens: Tensor, valid: Tensor | None = None) -> "Moments":
        """Over the tokens `(N, P, F)` where `valid` `(N, P)` is true; at least one of each row is."""
        tokens = at_least_float32(tokens)
        if valid is None:
            count = tokens.new_ones(tokens.shape[:2]).sum(1, keepdim=True)
            mean = tokens.mean(1)
            squares = (tokens - mean[:, None]).square().sum(1)
            return cls(count, mean, squares, tokens.amax(1))
        weight = valid[:, :, None].to(tokens.dtype)
        count = weight.sum(1)
        mean = (tokens * weight).sum(1) / count
        squares = ((tokens - mean[:, None]) * weight).square().sum(1)
        return cls(count, mean, squares, tokens.masked_fill(~valid[:, :, None], -torch.inf).amax(1))

    @classmethod
    def of_all(cls, levels: list[Tensor], valid: Tensor | None = None) -> "Moments":
        """Those of several levels `(N, P, F)` side by side."""
        each = [cls.of(tokens, valid) for tokens in levels]
        values = ([getattr(one, name) for one in each] for name in ("mean", "squares", "maximum"))
        return cls(each[0].count, *(torch.cat(parts, 1) for parts in values))

    @classmethod
    def join(cls, parts: list["Moments"]) -> "Moments":
        """The rows of several, one after the other."""
        return cls(*(torch.cat([getattr(part, name) for part in parts]) for name in cls.__annotations__))

    def merge(self, owners: Tensor, number: int) -> "Moments":
        """The moments of `number` clips from those of their stretches; `owners` `(N,)` says whose each is."""
        count = self.count.new_zeros(number, 1).index_add(0, owners, self.count)
        empty = self.mean.new_zeros(number, self.mean.shape[1])
        mean = empty.index_add(0, owners, self.mean * self.count) / count
        between = (self.mean - mean[owners]).square() * self.count
        squares = empty.index_add(0, owners, self.squares + between)
        where = owners[:, None].expand_as(self.maximum)
        maximum = empty.scatter_reduce(0, where, self.maximum, "amax", include_self=False)
        return Moments(count, mean, squares, maximum)

    def std(self) -> Tensor:
        """Standard deviation over time `(N, F)`, with a finite gradient where it is 0."""
        return (self.squares / self.count + LEAST_VARIANCE).sqrt()

    def pooled(self, statistics: bool = True) -> Tensor:
        """Means, standard deviations and maxima `(N, 3 * F)`, or the means alone."""
        return torch.cat([self.mean, self.std(), self.maximum], dim=1) if statistics else self.mean
