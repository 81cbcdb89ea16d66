"""Augmentation of the two views: mixup with earlier sounds, and a random resize crop.

Both work on a batch of log-mel spectrograms on any device. Random numbers in [0, 1) are passed in,
so a batch is a pure function of its draws.
"""

import math

import torch
from torch import Tensor, nn

from atst.model.frontend import NORM_HIGH_DB, NORM_LOW_DB

MIXUP_RATIO = 0.4
BANK_SIZE = 2000
CANVAS = 1.5  # width of the virtual canvas over the clip's
SCALE = (0.6, 1.5)
CUBIC = -0.75
DECIBELS_PER_UNIT = (NORM_HIGH_DB - NORM_LOW_DB) / 2.0  # of a normalised log-mel
MIXUP_DOMAINS = {"normalised": 1.0, "power": DECIBELS_PER_UNIT * math.log(10.0) / 10.0}
EQUALISER_POINTS = 6  # of the curve over the bands, through which a cosine runs


class MixupBank:
    """The last 2000 unmixed log-mels of one view, each new one mixed with one of those before it.

    BYOL-A's log-mixup-exp on normalised values (`docs/fidelity.md`, quirk 6). The bank fills in the
    order of the stream: within a batch a clip may be mixed with an earlier one of that batch. `domain` is a
    key of `MIXUP_DOMAINS`.
    """

    def __init__(self, size: int = BANK_SIZE, domain: str = "normalised") -> None:
        self.size = size
        self.scale = MIXUP_DOMAINS[domain]
        self.stored: Tensor | None = None  # (size + B, 64, T), a ring
        self.seen = 0

    def mix(self, logmels: Tensor, draws: Tensor) -> Tensor:
        """Mixed `(B, 64, T)`. `draws` `(B, 2)`: which earlier clip, and its weight as share of 0.4."""
        order, draws = self.seen + torch.arange(len(logmels)), draws.cpu()
        available = order.clamp_max(self.size)
        back = 1 + (draws[:, 0] * available).long().clamp_max(available - 1)  # 1 = the clip just before
        stored = self.push(logmels)
        partner = stored[((order - back) % len(stored)).to(logmels.device)]
        weight = (MIXUP_RATIO * draws[:, 1]).to(logmels)[:, None, None]
        mixed = log_mixup_exp(logmels, partner, 1.0 - weight, self.scale)
        if order[0] == 0:  # there is none before the very first
            mixed[0] = logmels[0]
        return mixed

    def push(self, logmels: Tensor) -> Tensor:
        """Remember `(B, 64, T)` without mixing; the ring, which has room for these and `size` before them."""
        ring = self._ring(logmels)
        ring[((self.seen + torch.arange(len(logmels))) % len(ring)).to(logmels.device)] = logmels
        self.seen += len(logmels)
        return ring

    def _ring(self, logmels: Tensor) -> Tensor:
        """The ring, made larger where these do not fit beside those that count."""
        before = self.stored
        if before is None or len(before) < self.size + len(logmels):
            self.stored = logmels.new_empty(self.size + len(logmels), *logmels.shape[1:])
            if before is not None:
                kept = torch.arange(max(0, self.seen - self.size), self.seen)
                self.stored[kept % len(self.stored)] = before[kept % len(before)]
        assert self.stored is not None
        return self.stored


def log_mixup_exp(x: Tensor, z: Tensor, weight_of_x: Tensor, scale: float = 1.0) -> Tensor:
    """Logarithm of the weighted sum of exponentials of two normalised log-mels, times `scale`."""
    if scale == 1.0:
        mixed = x.exp().mul_(weight_of_x).add_(z.exp().mul_(1.0 - weight_of_x))
        return mixed.add_(torch.finfo(torch.float32).eps).log_()
    return torch.logaddexp(scale * x + weight_of_x.log(), scale * z + (1.0 - weight_of_x).log()) / scale


def stretch(logmels: Tensor, frames: int, most: float, draws: Tensor) -> Tensor:
    """Stretches of `frames` times a factor, cut at random out of `(B, 64, T)`, resized to `(B, 64, frames)`.

    The factor's logarithm is uniform up to that of `most` either way; `draws` `(B, 2)`: factor and place.
    """
    source = logmels.shape[-1]
    factor = most ** (2.0 * draws[:, 0].double().cpu() - 1.0)
    length = (frames * factor).round().long().clamp(2, source)
    start = (draws[:, 1].double().cpu() * (source - length + 1)).long().minimum(source - length)
    return resize_time(logmels, start, length, frames)


def colour(logmels: Tensor, equaliser_db: float, gain_db: float, draws: Tensor) -> Tensor:
    """Each clip `(B, 64, T)` through a smooth random equaliser and a random gain; `draws` `(B, 1 + 6)`."""
    draws = (2.0 * draws.to(logmels) - 1.0) / DECIBELS_PER_UNIT
    at = torch.linspace(0, EQUALISER_POINTS - 1, logmels.shape[1], device=logmels.device)
    left = at.long().clamp_max(EQUALISER_POINTS - 2)
    share = (1.0 - torch.cos(torch.pi * (at - left))) / 2.0
    points = equaliser_db * draws[:, 1:]  # (B, 6)
    curve = points[:, left] * (1.0 - share) + points[:, left + 1] * share  # (B, 64)
    return logmels + (curve + gain_db * draws[:, :1])[:, :, None]


def draw_crops(draws: Tensor, bands: int, frames: int, in_time: bool = True) -> Tensor:
    """Crop boxes `(B, 4)` int64 (top, left, height, width) on the canvas from `draws` `(B, 4)`.

    Height and width are scaled by 0.6 to 1.5 and capped at the canvas; corners are uniform integers. Not
    `in_time`, the frames stay where they are.
    """
    canvas = torch.tensor([bands, int(CANVAS * frames)])
    scale = SCALE[0] + (SCALE[1] - SCALE[0]) * draws[:, :2].double().cpu()
    size = (scale * torch.tensor([bands, frames])).long().minimum(canvas)  # height, width
    room = canvas - size + 1
    corner = (draws[:, 2:4].double().cpu() * room).long().minimum(room - 1)
    crops = torch.cat([corner, size], dim=1)
    if not in_time:
        crops[:, 1], crops[:, 3] = _margin(frames), frames
    return crops


def _margin(frames: int) -> int:
    """Frames of the canvas before the clip."""
    return (int(CANVAS * frames) - frames) // 2


def resize_crop(logmels: Tensor, crops: Tensor) -> Tensor:
    """Cut `crops` `(B, 4)` out of the canvas around each clip and resize them back to `(B, 64, T)`.

    Bicubic (a = -0.75), corners aligned, no antialiasing. The canvas is `int(1.5 * T)` wide, zero
    outside the clip, which is in its middle. Bicubic resizing is linear and separable: first the frames,
    then, by a product of small matrices, the bands; in float32 also under autocast.
    """
    bands, frames = logmels.shape[1:]
    top, left, height, width = crops.cpu().unbind(1)
    rows = torch.zeros(len(crops), bands, bands)
    rows.scatter_add_(2, *taps(top, height, bands, bands))
    resized = resize_time(logmels, left - _margin(frames), width, frames)
    with torch.autocast(logmels.device.type, enabled=False):
        # the bands of a frame lie side by side in memory
        return (resized.transpose(1, 2) @ rows.to(logmels).transpose(1, 2)).transpose(1, 2)


def resize_time(logmels: Tensor, start: Tensor, length: Tensor, frames: int) -> Tensor:
    """Frames `start .. start + length` of each clip `(B, 64, T)` resized to `(B, 64, frames)`; see `taps`.

    Each frame is a weighted sum of four, and PyTorch's fast sum of rows by number is that of embeddings.
    """
    batch, bands, source = logmels.shape
    index, weights = taps(start.cpu(), length.cpu(), source, frames)  # (B, frames, 4)
    index += source * torch.arange(batch)[:, None, None]
    flat = logmels.transpose(1, 2).reshape(batch * source, bands)
    with torch.autocast(logmels.device.type, enabled=False):
        resized = nn.functional.embedding_bag(
            index.flatten(0, 1).to(logmels.device),
            flat,
            mode="sum",
            per_sample_weights=weights.flatten(0, 1).to(flat),
        )
    return resized.view(batch, frames, bands).transpose(1, 2)


def taps(start: Tensor, length: Tensor, source: int, target: int) -> tuple[Tensor, Tensor]:
    """Positions and weights `(B, target, 4)` that resize positions `start .. start + length` of a line.

    Taps beyond the crop repeat its edge; positions outside `0 .. source` count as zeros.
    """
    at = torch.arange(target) * ((length - 1) / max(target - 1, 1))[:, None]  # (B, target)
    left = at.floor()
    near = left.long()[..., None] + torch.arange(-1, 3)  # (B, target, 4)
    index = start[:, None, None] + near.clamp_min(0).minimum((length - 1)[:, None, None])
    inside = (index >= 0) & (index < source)
    return index.clamp(0, source - 1), cubic_weights((at - left).float()) * inside


def cubic_weights(fraction: Tensor) -> Tensor:
    """Weights of the four neighbours at offsets -1, 0, 1, 2 for a position `fraction` past the second."""
    distance = torch.stack([fraction + 1, fraction, 1 - fraction, 2 - fraction], dim=-1)
    near = ((CUBIC + 2) * distance - (CUBIC + 3)) * distance.square() + 1
    far = ((CUBIC * distance - 5 * CUBIC) * distance + 8 * CUBIC) * distance - 4 * CUBIC
    return torch.where(distance <= 1, near, far)
