"""Projector and predictor, with batch statistics taken over all devices."""

from torch import nn

from atst.model.encoder import HEAD_HIDDEN, HEAD_OUTPUT
from atst.model.processes import BatchNorm


class Head(nn.Sequential):
    """Linear, BatchNorm, ReLU, linear, the linears without bias: `(B, width)` to `(B, 256)`.

    Both projector (`width` = encoder width) and predictor (`width` = 256); ATST section III-C. `hidden` is
    the width between.
    """

    def __init__(self, width: int, hidden: int = HEAD_HIDDEN) -> None:
        super().__init__(
            nn.Linear(width, hidden, bias=False),
            BatchNorm(hidden),
            nn.ReLU(inplace=True),
            nn.Linear(hidden, HEAD_OUTPUT, bias=False),
        )


class StatisticsHead(nn.Sequential):
    """A head on statistics over time, whose scales differ: they are normalised over the batch first."""

    HIDDEN = 1024

    def __init__(self, width: int) -> None:
        super().__init__(BatchNorm(width, affine=False), Head(width, self.HIDDEN))
