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

from atst.cores import release_memory
from atst.corpus import Corpus
from atst.errors import AudioError, CorpusError
from atst.model.encoder import PATCH_FRAMES
from atst.model.frontend import SAMPLE_RATE, FrontEnd, n_frames
from atst.output.skipped import PARTLY
from atst.pretraining.recipe import Recipe
from atst.pretraining.views import block_mask, logmels
from atst.training.loader import Batches, BatchPositions, Lost, give_up

ATTEMPTS = 20
STANDARDISED_BY = 256  # clips
ORDER, PAIR, REPLACEMENT, MASK = range(4)  # kinds of draw, so that no two share a random stream
N_DRAWS = 33  # two segment starts, those of `views.DRAWS`, and whether both segments are the same


class PairDataset(Dataset[dict[str, Any]]):
    """Position in the stream to two segments of one clip, with the draws for their augmentation.

    An item has `views`, two log-mels (64, T), or two waveforms (N,) when `logmel` is false, with the `draws`
    (33,) for them; `real`, the share of the segments that is sound and not padding; `differ`, whether the
    segments do; `errors`, path and reason of clips that were replaced because they could not be used, and of
    clips from recordings that were cut short; with a `local_weight` also `masked` (P,), the patches to hide.
    """

    def __init__(self, corpus: Corpus, recipe: Recipe, logmel: bool) -> None:
        self.corpus = corpus
        self.order = ClipOrder(corpus.seconds, recipe.sampling, recipe.seed)
        self.seed = recipe.seed
        self.samples = [round(seconds * recipe.time_stretch * SAMPLE_RATE) for seconds in recipe.both_seconds]
        self.same_segment = recipe.same_segment
        self.patches = n_frames(self.samples[0]) // PATCH_FRAMES if recipe.local_weight else 0
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
        views = [torch.from_numpy(segment) for segment in pair]  # (N,) each
        if self.frontend is not None:
            once = not differ and pair[0].shape == pair[1].shape  # both are one and the same
            views = logmels(self.frontend, [view[None] for view in views[: 1 if once else 2]])
            views = [view[0] for view in (*views, views[0])[:2]]  # (64, T) each
        rng = np.random.default_rng((self.seed, MASK, position))
        masked = {"masked": torch.from_numpy(block_mask(self.patches, rng))} if self.patches else {}
        return masked | {
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
    ) -> tuple[list[NDArray[np.float32]], float, bool]:
        """Both segments `(N,)` of a clip, read in one stretch; zero-padded at the end if it is shorter.

        Where one draw is used for both starts, the shorter segment lies within the longer.
        """
        clip = int(self.corpus.seconds[index] * SAMPLE_RATE)
        rooms = [max(clip - samples, 0) + 1 for samples in self.samples]
        starts = [int(draw * room) for draw, room in zip(draws[:2], rooms, strict=True)]
        ends = [start + min(samples, clip) for start, samples in zip(starts, self.samples, strict=True)]
        first, last = min(starts), max(ends)
        wave = self.corpus.read(index, first / SAMPLE_RATE, (last - first) / SAMPLE_RATE, remarks)
        pair = [np.zeros(samples, dtype=np.float32) for samples in self.samples]
        for segment, start, end in zip(pair, starts, ends, strict=True):
            piece = wave[start - first : end - first]
            segment[: len(piece)] = piece
        real = float(np.mean([min(clip / samples, 1.0) for samples in self.samples]))
        return pair, real, (starts[0], ends[0]) != (starts[1], ends[1])


def logmel_moments(corpus: Corpus, recipe: Recipe) -> tuple[float, float]:
    """Mean and standard deviation of the log-mels of the stream's first clips."""
    dataset = PairDataset(corpus, recipe, logmel=True)
    views = [view for position in range(STANDARDISED_BY) for view in dataset[position]["views"]]
    values = torch.cat([view.flatten() for view in views])
    return float(values.mean()), float(values.std())


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
        self.seed, self.seconds, self.by_length = seed, seconds, sampling == "sqrt_duration"
        self.size = len(seconds)
        self._epoch = -1
        self._order = np.zeros(0, dtype=np.int32)

    def __getitem__(self, position: int) -> int:
        epoch, place = divmod(position, self.size)
        if epoch != self._epoch:
            self._order, self._epoch = self._draw(epoch).astype(np.int32), epoch
            release_memory()  # of a million clips: what drawing took is more than what stays
        return int(self._order[place])

    def _draw(self, epoch: int) -> NDArray[np.int64]:
        rng = np.random.default_rng((self.seed, ORDER, epoch))
        shuffled = rng.permutation(self.size)
        if not self.by_length:
            return shuffled
        # Systematic sampling: few repeats, none missed for long; shuffled before, so that clips which
        # stand side by side do not share one draw, and after, so that the order says nothing.
        weights = np.sqrt(self.seconds)
        total = weights.sum()
        edges = weights[shuffled]
        np.cumsum(edges, out=edges)
        edges /= total
        edges *= self.size
        places = np.arange(self.size, dtype=np.float64)
        places += rng.random()
        picks = np.searchsorted(edges, places, side="right")
        order = shuffled[np.minimum(picks, self.size - 1, out=picks)]
        rng.shuffle(order)
        return order


def loader(dataset: PairDataset, positions: BatchPositions, workers: int, lost: Lost = give_up) -> Batches:
    """Batches of the stream; see `Batches`."""
    return Batches(dataset, positions, workers, _collate, lost)


def _collate(items: list[dict[str, Any]]) -> dict[str, Any]:
    masked = {"masked": torch.stack([item["masked"] for item in items])} if "masked" in items[0] else {}
    return masked | {
        "views": [
            torch.stack(views) for views in zip(*(item["views"] for item in items), strict=True)
        ],  # (B, ...) each
        "draws": torch.stack([item["draws"] for item in items]),
        "position": items[0]["position"],
        "real": float(np.mean([item["real"] for item in items])),
        "differ": float(np.mean([item["differ"] for item in items])),
        "errors": [error for item in items for error in item["errors"]],
    }
