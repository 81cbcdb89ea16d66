"""How loud sound is, and how much of it lies above what 16 kHz can hold."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

FULL = 0.999  # of full scale; samples beyond it are clipped if there are many
MANY = 1e-4  # share of the samples
HIGH = 0.5  # share of the energy: most of it
SILENCE = 10 ** (-80 / 20)  # a peak below -80 dBFS


@dataclass
class Levels:
    """Of one channel, or the mean of all, at the recording's own rate, unless it says otherwise."""

    count: int = 0  # samples
    full: int = 0  # of them at full scale
    peak: float = 0.0
    energy: float = 0.0  # sum of squares times the time between samples
    kept: float = 0.0  # the same at 16 kHz
    digest: Any = None  # a hash that gets the samples, if one is given

    @property
    def high(self) -> float:
        """Share of the energy above 8 kHz."""
        return max(0.0, 1 - self.kept / self.energy) if self.energy else 0.0

    @property
    def clipped(self) -> bool:
        """Whether many samples are at full scale."""
        return self.full > MANY * self.count

    @property
    def silent(self) -> bool:
        """Whether the peak is below -80 dBFS."""
        return self.peak < SILENCE

    def of(self, blocks: Iterator[np.ndarray], rate: int) -> Iterator[np.ndarray]:
        """The blocks, which are added on their way."""
        for block in blocks:
            if len(block):
                peak = float(max(block.max(), -block.min()))
                self.count += len(block)
                self.full += int((np.abs(block) >= FULL).sum()) if peak >= FULL else 0
                self.peak = max(self.peak, peak)
                self.energy += _energy(block) / rate
                if self.digest is not None:
                    self.digest.update(block.tobytes())
            yield block

    def kept_of(self, blocks: Iterator[np.ndarray], rate: int) -> Iterator[np.ndarray]:
        """The same blocks after resampling to `rate`."""
        for block in blocks:
            self.kept += _energy(block) / rate
            yield block


def say_high(shares: Sequence[float]) -> None:
    """Say how many recordings have most of their energy above 8 kHz, if there are any."""
    count = sum(share > HIGH for share in shares)
    if count:
        print(
            f"{count / len(shares):.0%} of {len(shares):,} recordings have most of their energy above 8 kHz, "
            "which is not heard at 16 kHz (docs/formats.md)",
            file=sys.stderr,
            flush=True,
        )


def _energy(block: np.ndarray) -> float:
    with np.errstate(over="ignore", invalid="ignore"):  # samples that are not finite are refused elsewhere
        return float(np.dot(block, block))
