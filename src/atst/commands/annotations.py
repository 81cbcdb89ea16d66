"""`atst annotations`: converts tables of annotation programs to a task, and back."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from atst.errors import AtstError, UsageError
from atst.events.collect import Annotations, collect
from atst.events.event import Options
from atst.events.headed import last_part
from atst.events.recordings import Recordings
from atst.events.splits import split_recordings
from atst.events.summary import refusals, summary, window_summary, write_errors
from atst.events.text import read_text, split_lines
from atst.events.windows import label_windows
from atst.events.write import OWN, own_row, plain, relative, write_tables
from atst.output.atomic import write_csv
from atst.output.text import writable
from atst.sound.windows import check_hop

LONGEST_PADDING = 3.0  # s by which detectors pad the last stretch of a recording


def annotations(
    sources: Sequence[str | Path],
    /,
    *,
    out: Path | str | None = None,
    audio: Path | str | None = None,
    label_column: str | None = None,
    one_class: str | None = None,
    order: Path | str | None = None,
    min_confidence: float | None = None,
    layer: Literal["regions", "boxes", "notes"] | None = None,
    window: float | None = None,
    hop: float | None = None,
    background: str | None = None,
    split_by_recording: bool = False,
    seed: int = 0,
    to: Literal["raven", "audacity"] | None = None,
    dry_run: bool = False,
) -> None:
    """Turn tables of Raven, Audacity, BirdNET, Praat, ELAN, Sonic Visualiser and DCASE into a task, and back.

    A file's format is recognised by its content. A file is read completely, or refused with the line and the
    reason; nothing is skipped silently. The result has one row per event, with the columns `path`,
    `start`, `end`, `label`, `low`, `high`, `channel`, `confidence`, `source` and `line` (seconds and Hz), or
    with `--window` one row per window, with the first four. What was left out is listed in
    OUT.errors.csv; the exit code is 1 if a file was refused.

    Example: `atst annotations tables/ --audio recordings/ --out meta.csv --window 3 --background none`

    Parameters
    ----------
    sources
        Annotation files, and folders to search for them.
    out
        The table to write; with `--to` the folder for the tables.
    audio
        Folder to search for the recordings. Default: beside each table, then in all folders of the sources.
    label_column
        The column or tier that holds the labels. Default: the only known one with any text.
    one_class
        Give every event this class, whatever its label.
    order
        Text file that lists all recordings in order, one per line, for tables whose times run on over all
        of them.
    min_confidence
        Leave out a detector's results below this confidence; 0 takes all.
    layer
        The kind of Sonic Visualiser layer that CSV lines without a header come from.
    window
        Make windows of this many seconds; a window has a class if it overlaps an event by 0.25 s or by half
        of the event.
    hop
        Seconds from one window to the next. Default: the window's length, so that none overlap.
    background
        The class of windows of annotated recordings without any event. Default: such windows are left out.
    split_by_recording
        Add the column `split`: train, valid or test, drawn by `seed` for whole recordings.
    seed
        Draws the split.
    to
        Write tables for this program instead, one per recording.
    dry_run
        Report what would be read and refused, and write nothing.
    """
    if isinstance(sources, str | Path):
        sources = [sources]
    _check(out, label_column, one_class, window, hop, background, to, dry_run)
    found = [Path(source) for source in sources]
    for path in (*found, *(Path(other) for other in (audio, order) if other is not None)):
        if not path.exists():
            raise UsageError(f"{path}: no such file or folder")
    names = tuple(_lines(Path(order))) if order is not None else ()
    padding = max(LONGEST_PADDING, window or 0.0)
    options = Options(label_column, one_class, min_confidence, layer, names, padding)
    folders = [_folder(source) for source in found] if audio is None else [Path(audio)]
    recordings = Recordings(dict.fromkeys(folders), beside_first=audio is None)
    read = collect(found, options, recordings)
    target = None if out is None or dry_run else Path(out)
    if not read.read:
        raise AtstError(refusals(read))
    lines = summary(read)
    if to is not None and target is not None:
        written = write_tables(read.events, to, target)
        lines.append(f"{target}: {len(written)} tables for {to.capitalize()}")
    elif to is None:
        header, rows, remarks = _rows(read, recordings, target, window, hop or window, background)
        if split_by_recording:
            header, rows = _with_split(header, rows, seed)
        lines += remarks
        if target is not None:
            write_csv(target, header, rows)
            lines.append(f"{target}: {len(rows)} rows")
    print(writable("\n".join(lines)))
    if target is not None:
        write_errors(read, target)
    if read.refused:
        raise AtstError(refusals(read))


def _check(
    out: Path | str | None,
    label_column: str | None,
    one_class: str | None,
    window: float | None,
    hop: float | None,
    background: str | None,
    to: str | None,
    dry_run: bool,
) -> None:
    if out is None and not dry_run:
        raise UsageError("give --out to say where to write, or --dry-run to look first.")
    if label_column is not None and one_class is not None:
        raise UsageError("--label-column and --one-class both say what the labels are; give one.")
    if one_class is not None and not one_class.strip():
        raise UsageError("--one-class needs a name.")
    if window is not None and not window > 0:
        raise UsageError(f"--window must be more than 0 seconds, not {window:g}.")
    for name, value in (("--hop", hop), ("--background", background)):
        if value is not None and window is None:
            raise UsageError(f"{name} needs --window: without it a row is an event.")
    if hop is not None and window is not None:
        check_hop(hop, window)
    if out is not None and to is not None and Path(out).is_file():
        raise UsageError(f"--out {out}: is a file; with --to it is the folder for the tables.")
    if out is not None and to is None and Path(out).is_dir():
        raise UsageError(f"--out {out} is a folder, not a file; tables for --to go into folders.")
    if to is not None and window is not None:
        raise UsageError("--to writes events; --window makes windows: give one.")


def _folder(source: Path) -> Path:
    return source if source.is_dir() else source.parent


def _lines(order: Path) -> list[str]:
    text, _ = read_text(order)
    return [last_part(line.strip()) for line in split_lines(text) if line.strip()]


def _rows(
    read: Annotations,
    recordings: Recordings,
    out: Path | None,
    window: float | None,
    hop: float | None,
    background: str | None,
) -> tuple[Sequence[str], list[list[object]], list[str]]:
    """Header and rows of the table, and lines that sum them up."""
    names = {path: relative(path, out or Path("meta.csv")) for path in read.recordings}
    if window is None or hop is None:
        return OWN, [own_row(event, names[event.path]) for event in read.events], []
    if background in {event.label for event in read.events}:
        raise UsageError(f"--background '{background}' is also the label of events: choose another name.")
    lengths = {path: recordings.seconds(path) for path in read.recordings}
    found = label_windows(read.events, read.doubtful, lengths, window, hop, background)
    rows: list[list[object]] = [
        [names[row.path], plain(row.start), plain(row.end), ";".join(row.labels)] for row in found.rows
    ]
    return OWN[:4], rows, window_summary(found, background)


def _with_split(
    header: Sequence[str], rows: list[list[object]], seed: int
) -> tuple[Sequence[str], list[list[object]]]:
    labels: dict[str, Counter[str]] = {}
    for path, _, _, label, *_ in rows:
        labels.setdefault(str(path), Counter()).update(str(label).split(";"))
    parts = split_recordings(labels, seed)
    return (*header, "split"), [[*row, parts[str(row[0])]] for row in rows]
