"""The built-in task of synthetic sounds, for trying everything offline."""

from functools import cache

from atst.corpus.synthetic import synthetic_task as sounds
from atst.tasks.task import Task


@cache  # one process often probes several models, and the sounds take seconds to make
def synthetic_task() -> Task:
    """Which of twelve kinds a synthetic sound is."""
    made = sounds()
    return Task(
        name="synthetic",
        names=[f"synthetic {index}" for index in range(len(made.labels))],
        labels=made.labels,
        label_names=list(made.label_names),
        splits=made.splits,
        waveform=lambda index: made.waveforms[index],
        source="Made on the fly, labelled by construction; never evidence.",
    )
