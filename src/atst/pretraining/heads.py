"""Projector and predictor, with batch statistics taken over all devices."""

from torch import nn

from atst.training.batchnorm import BatchNorm

HIDDEN = 4096
OUTPUT = 256


class Head(nn.Sequential):
    """Linear, BatchNorm, ReLU, linear, the linears without bias: `(B, width)` to `(B, 256)`.

    Both projector (`width` = encoder width) and predictor (`width` = 256); ATST section III-C.
    """

    def __init__(self, width: int) -> None:
        super().__init__(
            nn.Linear(width, HIDDEN, bias=False),
            BatchNorm(HIDDEN),
            nn.ReLU(inplace=True),
            nn.Linear(HIDDEN, OUTPUT, bias=False),
        )
