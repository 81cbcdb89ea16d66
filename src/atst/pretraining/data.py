"""Pairs of segments from a corpus: which clip, which stretches, in which order; loaded by workers.

Everything derives from (seed, position), the position being a clip's place in the endless stream that
all devices and workers share. So the stream is the same whatever loads it, and can start anywhere.
"""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from atst.corpus import Corpus
from atst.errors import AudioError, CorpusError
from atst.model.frontend import SAMPLE_RATE, FrontEnd
from atst.output.skipped import PARTLY
from atst.pretraining.recipe import Recipe
from atst.training.loader import Batches, BatchPositions, Lost, give_up

ATTEMPTS = 20
STANDARDISED_BY = 256  # clips
ORDER, PAIR, REPLACEMENT = range(3)  # kinds of draw, so that no two share a random stream
N_DRAWS = 33  # two segment starts, those of `views.DRAWS`, and whether both segments are the same


class PairDataset(Dataset[dict[str, Any]]):
    """Position in the stream to two segments of one clip, with the draws for their augmentation.

    An item has `views` (2, 64, T) log-mel, or (2, N) waveforms when `logmel` is false; `draws` (33,);
    `real`, the share of the segments that is sound and not padding; `differ`, whether the segments do;
    `errors`, path and reason of clips that were replaced because they could not be used, and of clips from
    recordings that were cut short.
    """

    def __init__(self, corpus: Corpus, recipe: Recipe, logmel: bool) -> None:
        self.corpus = corpus
        self.order = ClipOrder(corpus.seconds, recipe.sampling, recipe.seed)
        self.seed = recipe.seed
        self.samples = round(recipe.segment_seconds * recipe.time_stretch * SAMPLE_RATE)
        self.same_segment = recipe.same_segment
        self.frontend = FrontEnd() if logmel else None

    def __getitem__(self, position: int) -> dict[str, Any]:
        draws = np.random.default_rng((self.seed, PAIR, position)).random(N_DRAWS)
        if draws[-1] < self.same_segment:
            draws[1] = draws[0]
        errors: list[tuple[str, str]] = []
        for index in self._candidates(position):
            try:
                remarks: list[str] = []
                pair, real, differ = self._segments(index, draws, remarks)
                errors += [(self.corpus.name(index), PARTLY + remark) for remark in remarks]
                break
            except AudioError as error:
                errors.append((self.corpus.name(index), str(error)))
        else:
            raise CorpusError(f"{ATTEMPTS} clips in a row could not be used, the last: {errors[-1][1]}")
        views = torch.from_numpy(pair)  # (2, N)
        if self.frontend is not None:
            views = self.frontend(views if differ else views[:1]).expand(2, -1, -1)  # (2, 64, T)
        return {
            "views": views,
            "draws": torch.from_numpy(draws),
            "position": position,
            "real": real,
            "differ": float(differ),
            "errors": errors,
        }

    def _candidates(self, position: int) -> Iterator[int]:
        """The clip at `position`, then others to take its place, the same ones each time."""
        yield self.order[position]
        yield from np.random.default_rng((self.seed, REPLACEMENT, position)).integers(
            len(self.corpus), size=ATTEMPTS - 1
        )

    def _segments(
        self, index: int, draws: NDArray[np.float64], remarks: list[str]
    ) -> tuple[NDArray[np.float32], float, bool]:
        """Both segments `(2, N)` of a clip, read in one stretch; zero-padded at the end if it is shorter."""
        clip = int(self.corpus.seconds[index] * SAMPLE_RATE)
        room = max(clip - self.samples, 0) + 1
        starts = [int(draw * room) for draw in draws[:2]]
        first, last = min(starts), max(starts) + min(self.samples, clip)
        wave = self.corpus.read(index, first / SAMPLE_RATE, (last - first) / SAMPLE_RATE, remarks)
        pair = np.zeros((2, self.samples), dtype=np.float32)
        for row, start in zip(pair, starts, strict=True):
            piece = wave[start - first :][: self.samples]
            row[: len(piece)] = piece
        return pair, min(clip / self.samples, 1.0), starts[0] != starts[1]


def logmel_moments(corpus: Corpus, recipe: Recipe) -> tuple[float, float]:
    """Mean and standard deviation of the log-mels of the stream's first clips."""
    dataset = PairDataset(corpus, recipe, logmel=True)
    logmels = torch.stack([dataset[position]["views"] for position in range(STANDARDISED_BY)])
    return float(logmels.mean()), float(logmels.std())


def whole_clips(corpus: Corpus, recipe: Recipe, most: int) -> Iterator[Tensor]:
    """Log-mels (64, T) of different clips of the stream, whole; those that cannot be read are left out."""
    order, frontend = ClipOrder(corpus.seconds, recipe.sampling, recipe.seed), FrontEnd()
    for index in dict.fromkeys(order[position] for position in range(most)):
        with suppress(AudioError):
            waveform = corpus.read(index, 0.0, float(corpus.seconds[index]), [])
            yield frontend(torch.from_numpy(waveform)[None])[0]


class ClipOrder:
    """Index of the clip at each position of the stream; an epoch is as many positions as clips.

    `uniform` visits every clip once an epoch; `sqrt_duration` visits it in proportion to the square
    root of its length (systematic sampling), since a longer clip holds more distinct pairs.
    """

    def __init__(self, seconds: NDArray[np.float64], sampling: str, seed: int) -> None:
        self.seed = seed
        self.size = len(seconds)
        self.weights = np.sqrt(seconds) if sampling == "sqrt_duration" else None
        self._epoch = -1
        self._order = np.zeros(0, dtype=np.int64)

    def __getitem__(self, position: int) -> int:
        epoch, place = divmod(position, self.size)
        if epoch != self._epoch:
            self._order, self._epoch = self._draw(epoch), epoch
        return int(self._order[place])

    def _draw(self, epoch: int) -> NDArray[np.int64]:
        rng = np.random.default_rng((self.seed, ORDER, epoch))
        if self.weights is None:
            return rng.permutation(self.size)
        # Systematic sampling: few repeats, none missed for long; shuffled before, so that clips which
        # stand side by side do not share one draw, and after, so that the order says nothing.
        shuffled = rng.permutation(self.size)
        edges = np.cumsum(self.weights[shuffled]) / self.weights.sum() * self.size
        picks = np.searchsorted(edges, np.arange(self.size) + rng.random(), side="right")
        return rng.permutation(shuffled[np.minimum(picks, self.size - 1)])


def loader(dataset: PairDataset, positions: BatchPositions, workers: int, lost: Lost = give_up) -> Batches:
    """Batches of the stream; see `Batches`."""
    return Batches(dataset, positions, workers, _collate, lost)


def _collate(items: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "views": torch.stack([item["views"] for item in items], dim=1),  # (2, B, ...)
        "draws": torch.stack([item["draws"] for item in items]),
        "position": items[0]["position"],
        "real": float(np.mean([item["real"] for item in items])),
        "differ": float(np.mean([item["differ"] for item in items])),
        "errors": [error for item in items for error in item["errors"]],
    }
