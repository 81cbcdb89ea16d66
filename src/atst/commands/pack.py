"""`atst pack`: recordings become a packed corpus."""

from collections import deque
from collections.abc import Sequence
from pathlib import Path

from atst.commands._options import Flag, Quiet
from atst.corpus.pack import Packing, base_folder
from atst.errors import UsageError
from atst.output import lock, progress
from atst.output.progress import say, track
from atst.output.skipped import finish, nothing_read
from atst.sound.find import find_audio
from atst.sound.options import how_to_read
from atst.sound.packed import is_packed


def pack(
    sources: Sequence[str | Path],
    /,
    *,
    out: Path | str,
    resume: Flag = False,
    channel: int | str = "mean",
    partial: Flag = False,
    max_duration: float | None = None,
    quiet: Quiet = False,
) -> None:
    """Decode recordings once, into a packed corpus for random access, on a disk or in object storage.

    For example:

        atst pack sounds/ --out corpus
        atst pretrain corpus --out runs/mine

    The corpus holds 16-bit samples at 16 kHz, mono, and an index of what is where: `pretrain`, `embed`,
    `predict`, `check` and, if a manifest with labels was packed, `probe` and `finetune` read it like the
    files. Recordings with samples beyond full scale are scaled, never clipped. A recording that cannot be
    read to its end is left out and listed in errors.csv; the exit code is then 1, and the corpus is complete
    for the rest.

    Args:
        sources: Audio files, folders to search for audio, and manifests (.csv, .jsonl, .txt), which may have
            columns `start` and `end` (seconds) and any others, which the index keeps.
        out: The folder to write; it must be new or empty unless --resume is given.
        resume: Continue an interrupted packing, or start one.
        channel: `mean` of all channels, or the index of one, from 0.
        partial: Pack recordings that were cut short as far as they go; the index marks them.
        max_duration: Skip, and list, recordings longer than this many seconds, or whose header says so.
        quiet: Show no progress.

    Raises:
        UsageError: an argument is invalid.
        CorpusError: the sources hold no audio.
        AudioError: recordings were left out; the message lists them.
    """
    out = Path(out)
    how = {"partial": partial, **how_to_read(channel, max_duration)}
    if not resume and not lock.is_new(out):
        raise UsageError(
            f"--out {out}: exists and is not an empty folder; use --resume to continue what is in it."
        )
    if packed := next((source for source in sources if is_packed(source)), None):
        raise UsageError(f"{packed}: is a packed corpus already.")
    with progress.quiet(quiet), lock.held(out):
        if is_packed(out):
            say(f"{out}: packed already")
            return
        found = find_audio(sources, columns=True)
        packing = Packing(found.recordings, base_folder(sources), out, how)
        try:
            deque(track(packing.run(), "packing", len(found.recordings)), 0)
        except KeyboardInterrupt:
            raise KeyboardInterrupt("The same command with --resume continues.") from None
        done = packing.finish()
    skipped = found.skipped + done.skipped
    if not done.recordings:
        raise nothing_read(len(found), skipped)
    scaled = (
        f"; {done.scaled:,} scaled, with {done.beyond:,} samples beyond full scale" if done.scaled else ""
    )
    say(f"{out}: {done.recordings:,} recordings, {done.seconds / 3600:.2f} h{scaled}")
    finish(len(found), skipped, out)
