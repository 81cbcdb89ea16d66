"""Whether a run is learning: collapse is what users of this method meet first."""

import math
from collections import deque

from atst.model.encoder import HEAD_OUTPUT

UNIFORM_STD = HEAD_OUTPUT**-0.5  # 1/16
WINDOW = 50  # steps averaged before judging
LOW_STD = 0.2  # of the uniform output std
LOW_RANK = 3.0

ADVICE = (
    "All sounds are getting the same output: the run is collapsing. What helps, most likely first: "
    "lower learning_rate (it is multiplied by the effective batch / 256), lengthen warmup_steps, raise ema "
    "towards 0.999, use a larger batch_size, keep mixup and resize_crop on."
)


class Health:
    """Watches output std and effective rank of the student; warns once when they have collapsed."""

    def __init__(self) -> None:
        self.stds: deque[float] = deque(maxlen=WINDOW)
        self.ranks: deque[float] = deque(maxlen=3)
        self.warned = False

    def update(self, std: float, rank: float | None) -> str | None:
        """Takes the output std of a step, and the effective rank where known; returns a warning, if any."""
        self.stds.append(std)
        if rank is not None:
            self.ranks.append(rank)
        if self.warned or len(self.stds) < WINDOW:
            return None
        mean = math.fsum(self.stds) / WINDOW
        low_rank = len(self.ranks) == 3 and max(self.ranks) < LOW_RANK
        if mean >= LOW_STD * UNIFORM_STD and not low_rank:
            return None
        self.warned = True
        shown = f"{self.ranks[-1]:.1f}" if self.ranks else "unknown"
        return f"output std {mean:.4f} (0.0625 when uniform), rank {shown} of {HEAD_OUTPUT}. {ADVICE}"
