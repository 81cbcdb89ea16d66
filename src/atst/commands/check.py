"""`atst check`: what is in a folder of sound, and what cannot be read."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa

from atst.commands._options import Quiet
from atst.errors import AudioError
from atst.output import progress
from atst.output.progress import track
from atst.output.skipped import PARTLY, errors_file, listed, summary, write_errors
from atst.output.table import Writer, check_out, csv_file, write_table
from atst.output.text import path_text, print_table, writable
from atst.sound.find import find_audio
from atst.sound.options import channel_number
from atst.sound.pool import Pool
from atst.sound.survey import Surveyed, rows, survey

WRITERS: dict[str, Writer] = {".csv": csv_file}


def check(
    sources: Sequence[str | Path],
    /,
    *,
    out: Path | str | None = None,
    channel: int | str = "mean",
    quiet: Quiet = False,
) -> list[Surveyed]:
    """Report what is in a collection of sound, before hours are spent on it.

    For example:

        atst check sounds/ --out sounds.csv

    Every file is decoded to its end. The table counts files and hours: in all, by sample rate, channels and
    format, and of files that are silent, clipped, cut short, mostly above 8 kHz (inaudible to a model at
    16 kHz), duplicates or unreadable. The exit code is 1 if any file is unreadable.

    Args:
        sources: Audio files, folders to search for audio, manifests (.csv, .jsonl, .txt), packed corpora.
        out: A CSV file to write, with a row for each file. Files that cannot be read to their end are
            listed in OUT.errors.csv.
        channel: The channel whose level is measured: `mean` of all channels, or the index of one, from 0.
        quiet: Show no progress.

    Returns:
        What was found in each file.

    Raises:
        UsageError: `out` is a folder or no name of a CSV file.
        CorpusError: the sources hold no audio.
        AudioError: some files cannot be read.
    """
    if out is not None:
        check_out(Path(out), WRITERS)
    heard = channel_number(channel)
    with progress.quiet(quiet):
        found = find_audio(sources)
        with Pool(len(found.recordings)) as pool:
            shown = track(survey(pool, found.recordings, heard), "checking", len(found.recordings))
            files = list(shown) + [Surveyed(path, reason=reason) for path, reason in found.skipped]
    print_table(["", "files", "hours"], [(what, f"{n:,}", f"{hours:.2f}") for what, n, hours in rows(files)])
    skipped = [(file.path, file.reason) for file in files if file.reason]
    partly = [(file.path, PARTLY + "; ".join(file.remarks)) for file in files if file.remarks]
    if out is not None:
        write_table(Path(out), WRITERS, [pa.Table.from_pylist([_cells(file) for file in files])], {})
        write_errors(Path(out), skipped + partly)
    if skipped:
        raise AudioError(summary(len(files), skipped + partly, None if out is None else Path(out), "files"))
    for line in listed(partly) if out is None else [f"listed in {errors_file(Path(out))}"] * bool(partly):
        print(writable(line))
    return files


def _cells(file: Surveyed) -> dict[str, Any]:
    texts = {"path": file.path, "remarks": "; ".join(file.remarks), "reason": file.reason}
    return asdict(file) | {name: path_text(text) for name, text in texts.items()}
