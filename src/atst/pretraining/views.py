"""A batch of segment pairs becomes the two augmented log-mel views that student and teacher see."""

from typing import Any

from torch import Tensor

from atst.model.frontend import FrontEnd
from atst.pretraining.recipe import Recipe
from atst.training.augment import MixupBank, draw_crops, resize_crop


class Views:
    """Front end (if the loader has not run it), mixup with a bank per view, random resize crop.

    Runs on the device of the batch; a pure function of the stream so far.
    """

    def __init__(self, recipe: Recipe) -> None:
        self.resize_crop = recipe.resize_crop
        self.banks = (MixupBank(), MixupBank()) if recipe.mixup else None
        self.frontend = FrontEnd()

    def __call__(self, batch: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """Views `(B, 64, T)` of a batch from `data.loader`."""
        first, second = self._logmels(batch["views"])
        draws = batch["draws"].cpu()
        return self._augment(0, first, draws[:, 2:8]), self._augment(1, second, draws[:, 8:14])

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
        if self.banks is not None:
            logmels = self.banks[view].mix(logmels, draws[:, :2])
        if self.resize_crop:
            logmels = resize_crop(logmels, draw_crops(draws[:, 2:], *logmels.shape[1:]))
        return logmels
