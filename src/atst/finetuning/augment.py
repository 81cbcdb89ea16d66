"""Augmentation of labelled clips: linear mixup with the labels, and masks of bands and frames."""

from torch import Tensor


def mix(
    logmel: Tensor, label: Tensor, other: Tensor, other_label: Tensor, weight: float, start: float
) -> tuple[Tensor, Tensor]:
    """`weight` parts of a clip (64, T) and its label (C,), the rest of another (64, S) and its label.

    Of unequal lengths the longer one is used, or mixed, from a place `start` in [0, 1) of the room there is;
    the very last place is never taken, as in the published code. The labels get `weight` in every case.
    """
    frames, span = logmel.shape[-1], min(logmel.shape[-1], other.shape[-1])
    first, other_first = (int(start * (length - span)) for length in (frames, other.shape[-1]))
    mixed = logmel.clone()
    part = mixed[:, first : first + span]
    part *= weight
    part += (1 - weight) * other[:, other_first : other_first + span]
    return mixed, weight * label + (1 - weight) * other_label


def mask(logmel: Tensor, most: tuple[float, float], draws: Tensor) -> Tensor:
    """A stretch of bands and one of frames set to 0, the middle of the normalised range (SpecAugment).

    `most` bands and frames; `draws` (4,) in [0, 1): share of the most and place, for bands, then frames.
    """
    masked = logmel.clone()
    for axis, (limit, (size, place)) in enumerate(zip(most, draws.view(2, 2).tolist(), strict=True)):
        length = int(size * (min(limit, logmel.shape[axis]) + 1))
        start = int(place * (logmel.shape[axis] - length + 1))
        masked.narrow(axis, start, length).zero_()
    return masked
