"""Projector and predictor, with batch statistics taken over all devices."""

from torch import nn

from atst.model.encoder import HEAD_HIDDEN, HEAD_OUTPUT
from atst.training.batchnorm import BatchNorm


class Head(nn.Sequential):
    """Linear, BatchNorm, ReLU, linear, the linears without bias: `(B, width)` to `(B, 256)`.

    Both projector (`width` = encoder width) and predictor (`width` = 256); ATST section III-C.
    """

    def __init__(self, width: int) -> None:
        super().__init__(
            nn.Linear(width, HEAD_HIDDEN, bias=False),
            BatchNorm(HEAD_HIDDEN),
            nn.ReLU(inplace=True),
            nn.Linear(HEAD_HIDDEN, HEAD_OUTPUT, bias=False),
        )
