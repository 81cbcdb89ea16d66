"""The built-in task of synthetic sounds, for trying everything offline."""

from functools import cache

import numpy as np

from atst.corpus.synthetic import KINDS, TASK, make_sound
from atst.tasks.task import SPLITS, Task


@cache  # one process often probes several models, and the sounds take seconds to make
def synthetic_task(train: int = 600, valid: int = 240, test: int = 360, seconds: float = 4.0) -> Task:
    """Which of twelve kinds, equally frequent, a synthetic sound is; so many clips a split."""
    labels = np.arange(train + valid + test) % len(KINDS)
    waveforms = [
        make_sound(int(label), seconds, np.random.default_rng([TASK, 0, index]))
        for index, label in enumerate(labels)
    ]
    return Task(
        name="synthetic",
        names=[f"synthetic {index}" for index in range(len(labels))],
        labels=labels,
        label_names=list(KINDS),
        splits=np.repeat(SPLITS, [train, valid, test]),
        waveform=lambda index: waveforms[index],
        source="Made on the fly, labelled by construction; never evidence.",
    )
