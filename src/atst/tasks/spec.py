"""The description of a registered data set: where its files are, and what to expect of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import yaml

from atst.tasks import layouts
from atst.tasks.listing import Listing


@dataclass(frozen=True)
class Archive:
    """A file that a public server offers."""

    url: str
    checksum: str | None = None  # "md5:..." or "sha256:..."; None: none is published
    checksum_from: str = ""  # who published it

    @property
    def name(self) -> str:
        """The file's name."""
        return self.url.rsplit("/", 1)[-1]

    @property
    def pinned(self) -> bool:
        """Whether the checksum proves that a file is the right one, whoever sent it."""
        return (self.checksum or "").startswith("sha256:")


@dataclass(frozen=True)
class DatasetSpec:
    """A data set: where its files and labels are, and what to expect of them."""

    about: str
    folder: str  # under ATST_DATA
    source: str
    license: str
    get: str  # where to get the files
    clips: dict[str, int]  # expected, by split or fold; {"all": n} where only the total is known
    classes: int | None  # expected; None where the publisher gives no number
    sample_rate: str = "16 kHz"  # of the published files, which are resampled when read
    metric: Literal["accuracy", "mAP"] = "accuracy"
    # The official layout. `read` gets the folder and the audio files below it.
    read: Callable[[Path, set[str]], Listing] | None = None
    page: str = ""  # documents the layout
    # Metadata files and folders that must exist; of a list, one of them.
    needs: Sequence[str | Sequence[str]] = ()
    audio: Sequence[str] = ("",)  # folders with audio
    spare: str = ""  # what audio files without a label are, where some are expected
    vanishing: bool = False  # whether some of the listed clips can no longer be downloaded
    archives: Sequence[Archive] = ()
    # The authors' grid, for a batch of 256, where they have the task.
    learning_rates: Sequence[float] | None = None
    # A prepared table, relative to the data set's folder, is used instead of the official layout.
    table: str = "meta.csv"

    @property
    def total(self) -> int:
        """Clips expected."""
        return sum(self.clips.values())

    def lacks(self, folder: Path) -> list[str]:
        """What the official layout needs and `folder` lacks."""
        return [" or ".join(need) for need in self._needs if not any((folder / one).exists() for one in need)]

    def layout(self, folder: Path) -> list[str]:
        """The files of the layout that exist."""
        return [one for need in self._needs for one in need if (folder / one).exists()]

    @property
    def _needs(self) -> list[Sequence[str]]:
        return [[need] if isinstance(need, str) else need for need in self.needs]


def _spec(
    clips: dict[Any, int],
    read: str = "",
    options: dict[str, Any] | None = None,
    archives: Sequence[str] = (),
    **rest: Any,
) -> DatasetSpec:
    """An entry of `datasets.yaml`."""
    return DatasetSpec(
        clips={str(part): count for part, count in clips.items()},
        read=partial(getattr(layouts, read), **options or {}) if read else None,
        archives=[Archive(*archive.split()) for archive in archives],
        **rest,
    )


_ENTRIES = yaml.safe_load(Path(__file__).with_name("datasets.yaml").read_text(encoding="utf-8"))
DATASETS: dict[str, DatasetSpec] = {name: _spec(**entry) for name, entry in _ENTRIES.items()}
