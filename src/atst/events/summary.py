"""What was read, changed and refused, in words and as a list."""

from collections import Counter
from pathlib import Path

from atst.events.collect import Annotations
from atst.events.event import Refused
from atst.events.windows import Windows
from atst.output.atomic import write_csv
from atst.output.skipped import errors_file
from atst.output.text import path_text

SHOWN = 5  # files that a line names
WORDS = {  # of what is counted
    "merged": "rows merged as further views of a selection",
    "unlabelled": "events without label, left out",
    "weak": "events below --min-confidence, left out",
    "cut": "events cut at the end of their recording",
    "doubled": "events that another file has too, counted once",
    "swapped": "events with low above high frequency, swapped",
}


def summary(read: Annotations) -> list[str]:
    """Files, recordings and events; what was changed or left out; what to look at; refusals by reason."""
    classes = Counter(event.label for event in read.events)
    files = f"{read.read} files read, {len(read.refused)} refused"
    lines = [f"{files}; {len(read.recordings)} recordings, {len(read.events)} events, {len(classes)} labels"]
    lines += [f"  {WORDS[name]}: {read.counts[name]}" for name in WORDS if read.counts[name]]
    lines += [f"  note: {text} ({_files(sources)})" for text, sources in read.notes.items()]
    lines += [f"  note: {text}" for text in _odd_labels(classes)]
    lines += [f"  note: no recordings from {path}: {reason}" for path, reason in read.unsearched[:SHOWN]]
    if read.other:
        lines.append(f"  files that are not annotation tables: {len(read.other)} ({_files(read.other)})")
    reasons = Counter(refusal.reason for _, refusal in read.refused)
    return lines + [f"  refused, {reason}: {count}" for reason, count in reasons.most_common()]


def window_summary(found: Windows, background: str | None) -> list[str]:
    """How many windows there are of what, and how many were left out."""
    several = sum(len(row.labels) > 1 for row in found.rows)
    words = f"{len(found.rows)} windows" + (f", {several} with several labels" if several else "")
    left = {
        "unsure": "with too little of an event",
        "doubtful": "with an event without label or below --min-confidence",
        "silent": "without events (--background NAME makes them a class)",
    }
    return [
        words,
        *(f"  left out {text}: {found.counts[name]}" for name, text in left.items() if found.counts[name]),
    ]


def write_errors(read: Annotations, out: Path) -> None:
    """List beside the output what was refused or not searched, and each event left out, if there are any."""
    rows: list[list[object]] = [
        [path_text(p), one.line or "", one.reason, str(one)] for p, one in read.refused
    ]
    rows += [[name, "", "not read", reason] for name, reason in read.unsearched]
    left_out = "no label or too little confidence"
    rows += [[path_text(e.source), e.line, left_out, f"at {e.start:g} s"] for e in read.doubtful]
    path = errors_file(out)
    if rows:
        write_csv(path, ("path", "line", "reason", "text"), rows)
    else:
        path.unlink(missing_ok=True)


def refusals(read: Annotations) -> str:
    """A line for each refused file."""
    lines = [f"{len(read.refused)} of {len(read.refused) + read.read} files refused:"]
    return "\n  ".join(lines + [_line(path, refusal) for path, refusal in read.refused])


def _line(path: Path, refusal: Refused) -> str:
    where = f", line {refusal.line}" if refusal.line else ""
    return f"{path}{where}: {refusal}"


def _files(paths: list[Path]) -> str:
    names = list(dict.fromkeys(path.name for path in paths))
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


def _odd_labels(classes: Counter[str]) -> list[str]:
    """Labels that differ by case or blanks alone, and those that the own table would take for several."""
    alike: dict[str, list[str]] = {}
    for label in sorted(classes):
        alike.setdefault("".join(label.casefold().split()), []).append(label)
    texts = [
        f"labels differ by case or blanks alone: {', '.join(f'{label!r}' for label in same)}"
        for same in alike.values()
        if len(same) > 1
    ]
    several = [label for label in classes if ";" in label]
    if several:
        texts.append(f"';' separates labels in a task, so '{several[0]}' counts as several")
    return texts
