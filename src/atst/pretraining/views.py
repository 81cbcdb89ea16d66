"""A batch of segment pairs becomes the two augmented log-mel views that student and teacher see."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from atst.model.frontend import SAMPLE_RATE, FrontEnd, n_frames
from atst.pretraining.recipe import Recipe
from atst.training.augment import MixupBank, colour, draw_crops, resize_crop, stretch

# columns of a batch's draws, for each view: mixup, crop, stretch, equaliser and gain
DRAWS = (
    (slice(2, 4), slice(4, 8), slice(14, 16), slice(16, 23)),
    (slice(8, 10), slice(10, 14), slice(23, 25), slice(25, 32)),
)

MASK_SHARE, MASK_SPAN = 0.65, 5
MASKED = 0.5  # of the patches, in the mean, since blocks overlap


class Views:
    """Front end (if the loader has not run it), mixup with a bank per view, random resize crop; also time
    stretch, equaliser and gain, where the recipe has them.

    Runs on the device of the batch; a pure function of the stream so far.
    """

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.frames = [n_frames(round(seconds * SAMPLE_RATE)) for seconds in recipe.both_seconds]
        domain = recipe.mixup_domain
        self.banks = (MixupBank(domain=domain), MixupBank(domain=domain)) if recipe.mixup else None
        self.frontend = FrontEnd()

    def __call__(self, batch: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """Views `(B, 64, T)` of a batch from `data.loader`."""
        first, second = self.logmels(batch["views"])
        draws = batch["draws"].cpu()
        return self._augment(0, first, draws), self._augment(1, second, draws)

    def remember(self, batch: dict[str, Any]) -> None:
        """Fill the banks with a batch that a resumed run saw before it was interrupted."""
        for bank, view in zip(self.banks or (), self.logmels(batch["views"]), strict=False):
            bank.push(view)

    def logmels(self, views: Sequence[Tensor]) -> Sequence[Tensor]:
        """`(B, 64, T)` each, from log-mels as they are or from waveforms `(B, N)`."""
        return views if views[0].ndim == 3 else logmels(self.frontend.to(views[0].device), views)

    def _augment(self, view: int, logmels: Tensor, draws: Tensor) -> Tensor:
        recipe = self.recipe
        mixup, crop, stretching, colouring = (draws[:, columns] for columns in DRAWS[view])
        if self.banks is not None:
            logmels = self.banks[view].mix(logmels, mixup)
        if recipe.time_stretch > 1.0:
            logmels = stretch(logmels, self.frames[view], recipe.time_stretch, stretching)
        if recipe.resize_crop:
            _, bands, frames = logmels.shape
            boxes = draw_crops(crop, bands, frames, in_time=not recipe.local_weight)
            logmels = resize_crop(logmels, boxes)
        if recipe.equaliser_db or recipe.gain_db:
            logmels = colour(logmels, recipe.equaliser_db, recipe.gain_db, colouring)
        return logmels


def block_mask(patches: int, rng: np.random.Generator | np.random.RandomState) -> NDArray[np.bool_]:
    """Which of a clip's patches `(P,)` are masked: blocks of 5 that may overlap, half of all in the mean.

    ATST-Frame's: 65% of the patches in number, different starts, never the last patch.
    """
    count = max(2, int(MASK_SHARE * patches / MASK_SPAN + rng.random()))
    starts = rng.choice(patches - MASK_SPAN, count, replace=False)
    masked = np.zeros(patches, dtype=bool)
    masked[starts[:, None] + np.arange(MASK_SPAN)] = True
    return masked


def logmels(frontend: FrontEnd, views: Sequence[Tensor]) -> list[Tensor]:
    """Views `(B, N)` through the front end: in one pass where they are equally long."""
    if all(view.shape == views[0].shape for view in views):
        return list(frontend(torch.cat(tuple(views))).chunk(len(views)))
    return [frontend(view) for view in views]
