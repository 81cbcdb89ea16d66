"""Whole recordings are assigned to train, valid and test."""

from collections import Counter
from collections.abc import Mapping

import numpy as np

from atst.errors import UsageError

SHARES = {"train": 0.6, "valid": 0.2, "test": 0.2}


def split_recordings(labels: Mapping[str, Counter[str]], seed: int) -> dict[str, str]:
    """The split of each recording, given how often it has each label.

    About 60, 20 and 20% of each label, as far as whole recordings allow: the recordings, the rarest labels
    first, go to the split that lacks most of what they have. Raises `UsageError` for fewer than three.
    """
    if len(labels) < len(SHARES):
        text = f"{len(labels)} recordings cannot be divided into train, valid and test"
        raise UsageError(f"--split-by-recording: {text}; at least 3 are needed.")
    totals: Counter[str] = Counter()
    for counts in labels.values():
        totals.update(counts)
    lacking = {part: {label: share * totals[label] for label in totals} for part, share in SHARES.items()}
    room = {part: share * len(labels) for part, share in SHARES.items()}
    paths = sorted(labels)
    order = [paths[i] for i in np.random.default_rng(seed).permutation(len(paths))]
    order.sort(key=lambda path: min((totals[label] for label in labels[path]), default=0))
    assigned: dict[str, str] = {}
    for number, path in enumerate(order):
        counts = labels[path]
        empty = [part for part in SHARES if part not in assigned.values()]
        parts = empty if len(order) - number <= len(empty) else list(SHARES)
        rarest = min(counts, key=lambda label: (totals[label], label), default=None)
        part = max(parts, key=lambda p: (0.0 if rarest is None else lacking[p][rarest], room[p]))
        assigned[path] = part
        room[part] -= 1
        for label, count in counts.items():
            lacking[part][label] -= count
    return assigned
