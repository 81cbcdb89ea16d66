"""Is a download of a registered task complete, and if not, what is missing?"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from atst.errors import AtstError, UsageError
from atst.tasks.listing import SHOWN
from atst.tasks.registry import DATASETS, official_root, read_official, read_prepared
from atst.tasks.spec import DatasetSpec

TINY = 200  # bytes: no audio of a registered task is so small, but a git-lfs pointer is


@dataclass
class Check:
    """What was found of a task, compared with what is published."""

    task: str
    folder: Path  # where the layout begins
    layout: str  # the metadata that was read
    expected: dict[str, int]  # clips by split or fold; {"all": n} where only the total is known
    found: dict[str, int]  # clips with label and file
    classes: tuple[int, int | None]  # found, expected
    missing: list[str]  # clips with a label and no file
    spare: list[str]  # audio files without a label
    tiny: list[str]  # files too small to be audio

    @property
    def complete(self) -> bool:
        """Whether every expected clip and class is there."""
        classes, wanted = self.classes
        all_there = all(self.found.get(part, 0) >= count for part, count in self.expected.items())
        return all_there and not self.missing and not self.tiny and (wanted is None or classes >= wanted)

    def lines(self) -> list[str]:
        """The findings, a line each."""
        spec = DATASETS[self.task]
        lines = [f"{self.task} in {self.folder}, read from {self.layout}"]
        for part in sorted({*self.expected, *self.found}, key=_order):
            wanted = f" of {self.expected[part]}" if part in self.expected else ""
            lines.append(f"{_called(part)}: {self.found.get(part, 0)}{wanted} clips")
        classes, of = self.classes
        lines.append(f"classes: {classes}" + ("" if of is None else f" of {of}"))
        lines.append(f"labels without a file: {_some(self.missing)}")
        why = f" ({spec.spare})" if self.spare and spec.spare else ""
        lines.append(f"files without a label: {_some(self.spare)}{why}")
        if self.tiny:
            lines.append(f"too small to be audio, perhaps pointers of git-lfs: {_some(self.tiny)}")
        return lines

    def verdict(self) -> str:
        """What is missing, in a sentence, and where it comes from."""
        spec = DATASETS[self.task]
        if self.complete:
            return f"{self.task} is complete."
        lacks = max(self.lacking, len(self.missing))
        reasons = [f"{lacks} clips are missing" if lacks > 1 else "1 clip is missing"] if lacks else []
        reasons += [f"{len(self.tiny)} files are not audio"] if self.tiny else []
        classes, wanted = self.classes
        reasons += [f"{wanted - classes} classes have no clip"] if wanted and classes < wanted else []
        rest = " The rest can be used." if spec.vanishing and any(self.found.values()) else ""
        return f"{self.task}: {', '.join(reasons)}.{rest} Files: {spec.get}."

    @property
    def lacking(self) -> int:
        """How many of the expected clips are not there."""
        return sum(max(0, count - self.found.get(part, 0)) for part, count in self.expected.items())


def check_task(name: str, folder: str | Path) -> Check:
    """Compare the files in `folder` with what is published of the registered task `name`.

    Raises `AtstError` if the metadata cannot be found or read: the message says what is not there and where
    it comes from.
    """
    spec, folder = DATASETS[name], Path(folder)
    if not folder.is_dir():
        raise UsageError(f"task {name}: {folder} is not a folder. Files: {spec.get}.")
    if (folder / spec.table).is_file():
        root, layout = folder, spec.table
        listing, missing, spare = read_prepared(folder / spec.table)
    else:
        try:
            root = official_root(name, folder)
        except UsageError as error:  # missing files are a finding here, not wrong usage
            raise AtstError(str(error)) from error
        layout = ", ".join(spec.layout(root))
        listing, missing, spare = read_official(spec, root)
    found = Counter(listing.parts)
    if "all" in spec.clips:
        found = Counter({"all": len(listing.parts)})
    return Check(
        name,
        root,
        layout,
        _expected(spec, found),
        dict(found),
        (len({label for labels in listing.labels for label in labels}), spec.classes),
        missing,
        spare,
        [file for file in listing.files if (root / file).stat().st_size < TINY],
    )


def _expected(spec: DatasetSpec, found: Counter[str]) -> dict[str, int]:
    """By split or fold, or the total where a prepared table has other ones."""
    if set(found) <= set(spec.clips):
        return spec.clips
    found["all"] = sum(found.values())
    return {"all": spec.total}


def _order(part: str) -> tuple[int, int, str]:
    splits = ("train", "valid", "test")
    if part in splits:
        return 0, splits.index(part), part
    return 1, int(part) if part.lstrip("-").isdecimal() else 1_000_000, part


def _called(part: str) -> str:
    return f"fold {part}" if part.lstrip("-").isdecimal() else part


def _some(names: list[str]) -> str:
    if not names:
        return "0"
    return f"{len(names)}: {', '.join(names[:SHOWN])}" + (", ..." if len(names) > SHOWN else "")
