"""A batch of segment pairs becomes the two augmented log-mel views that student and teacher see."""

from typing import Any

from torch import Tensor

from atst.model.frontend import SAMPLE_RATE, FrontEnd, n_frames
from atst.pretraining.recipe import Recipe
from atst.training.augment import MixupBank, colour, draw_crops, resize_crop, stretch

# columns of a batch's draws, for each view: mixup, crop, stretch, equaliser and gain
DRAWS = (
    (slice(2, 4), slice(4, 8), slice(14, 16), slice(16, 23)),
    (slice(8, 10), slice(10, 14), slice(23, 25), slice(25, 32)),
)


class Views:
    """Front end (if the loader has not run it), mixup with a bank per view, random resize crop; also time
    stretch, equaliser and gain, where the recipe has them.

    Runs on the device of the batch; a pure function of the stream so far.
    """

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.frames = n_frames(round(recipe.segment_seconds * SAMPLE_RATE))
        domain = recipe.mixup_domain
        self.banks = (MixupBank(domain=domain), MixupBank(domain=domain)) if recipe.mixup else None
        self.frontend = FrontEnd()

    def __call__(self, batch: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """Views `(B, 64, T)` of a batch from `data.loader`."""
        first, second = self._logmels(batch["views"])
        draws = batch["draws"].cpu()
        return self._augment(0, first, draws), self._augment(1, second, draws)

    def remember(self, batch: dict[str, Any]) -> None:
        """Fill the banks with a batch that a resumed run saw before it was interrupted."""
        for bank, logmels in zip(self.banks or (), self._logmels(batch["views"]), strict=False):
            bank.push(logmels)

    def _logmels(self, views: Tensor) -> Tensor:
        """`(2, B, 64, T)` from log-mels as they are or from waveforms `(2, B, N)`."""
        if views.ndim == 4:
            return views
        flat = self.frontend.to(views.device)(views.flatten(0, 1))
        return flat.unflatten(0, views.shape[:2])

    def _augment(self, view: int, logmels: Tensor, draws: Tensor) -> Tensor:
        recipe = self.recipe
        mixup, crop, stretching, colouring = (draws[:, columns] for columns in DRAWS[view])
        if self.banks is not None:
            logmels = self.banks[view].mix(logmels, mixup)
        if recipe.time_stretch > 1.0:
            logmels = stretch(logmels, self.frames, recipe.time_stretch, stretching)
        if recipe.resize_crop:
            logmels = resize_crop(logmels, draw_crops(crop, *logmels.shape[1:]))
        if recipe.equaliser_db or recipe.gain_db:
            logmels = colour(logmels, recipe.equaliser_db, recipe.gain_db, colouring)
        return logmels
