"""Which stretch to listen to next: where the classifier doubts, and now and then any."""

import numpy as np
from numpy.typing import NDArray

from atst.library.learning import Features, Learned

DOUBTFUL, RANDOM = "doubtful", "random"


class Picker:
    """Asks for the most doubtful stretch in turn with one drawn from all.

    One in `random_every` is drawn at random. Those represent the whole library, so they are the ones to hold
    back for measuring the classifier. Without a classifier all are drawn.
    """

    def __init__(self, features: Features, seed: int = 0, random_every: int = 2) -> None:
        self._features, self._random_every = features, random_every  # standardised, (n, D)
        self._rng = np.random.default_rng(seed)
        self._doubts: NDArray[np.float64] | None = None
        self._turn = 0

    def follow(self, learned: Learned | None) -> None:
        """Pick by what this classifier doubts from now on."""
        self._doubts = None if learned is None else learned.doubts(learned.scores(self._features))

    def next(self, free: NDArray[np.bool_]) -> tuple[int | None, str]:
        """One of the stretches that are `free` (n,) and why; none if there is none."""
        rows = np.flatnonzero(free)
        if not len(rows):
            return None, ""
        self._turn += 1
        if self._doubts is None or self._turn % self._random_every == 0:
            return int(self._rng.choice(rows)), RANDOM
        return int(rows[self._doubts[rows].argmax()]), DOUBTFUL
