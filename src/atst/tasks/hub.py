"""A data set of the Hugging Face library `datasets` becomes a task; from Python only."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atst.errors import AudioError, UsageError, unknown
from atst.sound.clips import cell_waveform
from atst.tasks.folders import SPLIT_NAMES
from atst.tasks.listing import Listing, build_task
from atst.tasks.task import Task


def task_from_dataset(
    dataset: Any,
    *,
    audio: str = "audio",
    label: str = "label",
    fold: str | None = None,
    name: str = "dataset",
    seed: int = 0,
) -> Task:
    """The task of a `datasets.DatasetDict`, or of one `datasets.Dataset`.

    A dictionary's keys are the splits (train; valid, validation, val or dev; test). A single data set has
    the folds of its column `fold`, or else splits drawn with `seed`.

    Args:
        dataset: with a column of audio and one of labels. Audio is not decoded by `datasets`, so torchcodec
            is not needed.
        audio: the column of audio.
        label: the column of labels: class indices or names, or lists of them, which make it multi-label.
        fold: the column of fold numbers of a single data set.
        name: of the task.
        seed: draws the splits of a data set without any.

    Raises:
        UsageError: a column or split is missing, or the labels are invalid.
    """
    splits = _splits(dataset, fold)
    columns = [audio, label] if fold is None else [audio, label, fold]
    clips: list[Callable[[], NDArray[np.float32]]] = []
    unsplit = fold is None and len(splits) == 1
    listing = Listing(by="draw" if unsplit else "split" if fold is None else "fold")
    for split, rows in splits.items():
        for column in columns:
            if column not in rows.column_names:
                raise unknown("column", column, rows.column_names)
        listing.classes, values = _labels(rows, label, f"{name}, split '{split}'")
        listing.multi_label |= any(many for _, many in values)
        listing.labels += [labels for labels, _ in values]
        listing.files += [f"{split}/{i}" for i in range(len(rows))]
        listing.parts += (
            [SPLIT_NAMES.get(split, "")] * len(rows) if fold is None else list(map(str, rows[fold]))
        )
        clips += _clips(rows, audio)

    def waveform(index: int) -> NDArray[np.float32]:
        try:
            return cell_waveform(clips[index]())
        except AudioError as error:
            raise AudioError(f"{name} {listing.files[index]}: {error}") from error

    return build_task(name, None, listing, seed, name=name, waveform=waveform)


def _splits(dataset: Any, fold: str | None) -> Mapping[str, Any]:
    """The data sets by split."""
    if not isinstance(dataset, Mapping):
        return {"clip": dataset}
    if len(dataset) == 1:
        return dataset
    if fold is not None:
        raise UsageError("`fold` is for a single data set: pass one, or leave it out.")
    for split in dataset:
        if split not in SPLIT_NAMES:
            raise unknown("split", str(split), SPLIT_NAMES)
    return dataset


def _labels(rows: Any, column: str, where: str) -> tuple[list[str] | None, list[tuple[list[str], bool]]]:
    """Names of the classes, if the data set has them, and (labels, whether they were a list) of each row."""
    feature = rows.features[column]
    names: Any = getattr(getattr(feature, "feature", feature), "names", None)  # a list's feature is inside it
    found = []
    for row, value in enumerate(rows[column]):
        many = isinstance(value, list | tuple | np.ndarray)
        values = list(value) if many else [value]
        if any(one is None for one in values):
            raise UsageError(f"{where}: row {row} of column '{column}' is empty.")
        wrong = next((one for one in values if names and not 0 <= int(one) < len(names)), None)
        if wrong is not None:  # -1 stands for no label
            valid = f"0 to {len(names) - 1}"
            raise UsageError(
                f"{where}: label {wrong} of row {row} is not {valid}; filter out unlabelled rows."
            )
        found.append(([names[int(one)] if names else str(one) for one in values], many))
    return (list(names) if names else None), found


def _clips(rows: Any, column: str) -> list[Callable[[], Any]]:
    """A function for each row that returns its audio cell, undecoded."""
    if hasattr(rows, "cast_column"):
        from datasets import Audio

        rows = rows.select_columns([column]).cast_column(column, Audio(decode=False))
    return [lambda i=i: rows[i][column] for i in range(len(rows))]  # type: ignore[misc]
