"""What a batch job skipped: a list beside its output, and one line at its end."""

import csv
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from atst.errors import AudioError
from atst.output.atomic import write_csv
from atst.output.progress import say
from atst.output.text import path_text

PARTLY = "read partly: "  # starts the reason for files that were read in part
HEADER = ["path", "reason"]
KINDS = 5  # reasons that the line names
SHOWN = 10  # files that are named where there is no list

Skipped = tuple[str, str]  # path, reason


def errors_file(out: Path) -> Path:
    """Where the list for an output is: `errors.csv` in a folder, `OUT.errors.csv` beside a file."""
    return out / "errors.csv" if out.is_dir() else out.with_name(f"{out.name}.errors.csv")


def write_errors(out: Path, skipped: Sequence[Skipped]) -> None:
    """Write the list (columns `path`, `reason`) of an output, or remove that of an earlier one."""
    path = errors_file(out)
    if not skipped:
        path.unlink(missing_ok=True)
        return
    write_csv(path, HEADER, [(path_text(name), path_text(reason)) for name, reason in skipped])


def with_partial(skipped: Iterable[Skipped], partial: Iterable[Skipped]) -> list[Skipped]:
    """Both in one list; what is missing of a recording becomes a reason."""
    return [*skipped, *[(path, PARTLY + remark) for path, remark in partial]]


def append_errors(folder: Path, skipped: Iterable[Skipped]) -> None:
    """Add to the list in a folder."""
    path = folder / "errors.csv"
    new = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerows([HEADER] if new else [])
        writer.writerows(skipped)


def read_errors(folder: Path) -> list[Skipped]:
    """The list in a folder; a half-written last line is left out."""
    path = folder / "errors.csv"
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as stream:
        return [(row[0], row[1]) for row in csv.reader(stream) if len(row) == 2 and row != HEADER]


def finish(total: int, skipped: Sequence[Skipped], out: Path | None) -> None:
    """Write the list of a batch job, print its summary. Raises `AudioError` if something was skipped."""
    if out is not None:
        write_errors(out, skipped)
    line = summary(total, skipped, out)
    if any(not reason.startswith(PARTLY) for _, reason in skipped):
        raise AudioError(line)
    say(line)


def nothing_read(total: int, skipped: Sequence[Skipped]) -> AudioError:
    """The error of a batch job that has no result."""
    return AudioError("\n  ".join([f"none of {total:,} recordings could be read:", *listed(skipped)]))


def summary(total: int, skipped: Sequence[Skipped], out: Path | None, things: str = "recordings") -> str:
    """One line: how many are done, partly done and skipped for which reasons, and where the list is.

    Without an output there is no list; the first ones follow, a line each.
    """
    partly = [entry for entry in skipped if entry[1].startswith(PARTLY)]
    left = [entry for entry in skipped if not entry[1].startswith(PARTLY)]
    parts = [f"{total - len(skipped):,} of {total:,} {things} done"]
    parts += [f"{len(partly):,} partly"] if partly else []
    if left:
        parts.append(f"{len(left):,} skipped ({kinds(left)})")
    line = ", ".join(parts)
    if skipped and out is not None:
        return f"{line}; listed in {errors_file(out)}, the first: {': '.join(skipped[0])}"
    return "\n  ".join([line, *listed(skipped)])


def kinds(skipped: Sequence[Skipped]) -> str:
    """How many were skipped for which reason, the most frequent first."""
    counts = Counter(_kind(reason) for _, reason in skipped).most_common()
    named = [f"{count:,} {kind}" for kind, count in counts[:KINDS]]
    rest = sum(count for _, count in counts[KINDS:])
    return ", ".join(named + ([f"{rest:,} others"] if rest else []))


def listed(skipped: Sequence[Skipped]) -> list[str]:
    """A line for each of the first, and how many more there are."""
    rest = len(skipped) - SHOWN
    return [": ".join(entry) for entry in skipped[:SHOWN]] + ([f"and {rest:,} more"] if rest > 0 else [])


def _kind(reason: str) -> str:
    """A reason without details of the file: numbers, and what follows a comma or bracket."""
    return re.split(r"[,(:;\d'\"]", reason)[0].strip() or reason
