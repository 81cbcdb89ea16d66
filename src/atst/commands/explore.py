"""`atst explore`: a library as a map to look at and listen to."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from atst.commands._options import Quiet
from atst.errors import UsageError
from atst.library import spotlight as renumics
from atst.library.columns import columns_of
from atst.library.explore_page import write_page
from atst.library.label_table import LabelTable
from atst.library.layout import lay_out
from atst.library.library import Library
from atst.library.places import say_missing
from atst.model.classifier import load_classifier
from atst.output import progress
from atst.output.progress import say
from atst.output.skipped import finish


def explore(
    library: Path | str,
    /,
    *,
    html: Path | str | None = None,
    labels: Path | str | None = None,
    classifier: Path | str | None = None,
    map: Literal["auto", "pca", "umap"] = "auto",
    megabytes: float = 60.0,
    spotlight: Path | str | None = None,
    root: Path | str | None = None,
    seed: int = 0,
    quiet: Quiet = False,
) -> None:
    """Look at a library as a map: click to hear and see, neighbours, colours by column, filters.

    For example:

        atst explore sounds.parquet --html map.html

    With `--html` it writes one page that needs no network and no program but a browser: up to 20,000 points,
    a random sample of a larger library. Each has a few seconds of its sound at 16 kHz in the page, as many as
    `--megabytes` allow, and a link to the recording. Without `--html` Renumics Spotlight is started on a file
    made for it; it has to be installed, in an environment of its own.

    Columns: the label, the library's own ones, folder, time of day where the name tells
    (20240501_043000.wav), cluster (HDBSCAN), nearest neighbours, outlier score (mean cosine distance to the
    neighbours), and with `--classifier` its suggestion and doubt.

    Args:
        library: What `atst embed` wrote: a .parquet or .npz file, or a folder of them.
        html: The page to write: FILE.html.
        labels: A table of labels for the column label, as `atst label` writes it.
        classifier: The --out folder of `atst label`, for the columns suggestion and doubt.
        map: How the map is made: UMAP where umap-learn is installed, else the principal components (`auto`),
            or one of them.
        megabytes: About the size of the page's sounds.
        spotlight: The program `spotlight`, if it is not on PATH.
        root: The folder with the recordings, if they have moved.
        seed: Of UMAP, and of the sample of a large library.
        quiet: Show no progress.

    Raises:
        UsageError: an argument is invalid, or Spotlight is not installed.
        AudioError: recordings could not be read; the page has no sound of them, and the message lists them.
    """
    if html is not None and Path(html).suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"--html {html}: the name must end in .html.")
    if megabytes < 0:
        raise UsageError(f"--megabytes must be 0 or more, not {megabytes:g}.")
    if labels is not None and not Path(labels).is_file():
        raise UsageError(f"--labels {labels}: no such file.")
    program = renumics.find_spotlight(spotlight) if html is None else None
    with progress.quiet(quiet):
        opened = Library(library, root)
        table = None if labels is None else LabelTable(Path(labels))
        layout = lay_out(opened, map, seed)
        judge = None if classifier is None else load_classifier(classifier)
        columns = columns_of(opened, layout, table, judge)
        if program is not None:
            with TemporaryDirectory() as folder:
                file = Path(folder) / "library.parquet"
                renumics.write_parquet(file, opened, layout, columns)
                say_missing(opened.missing)
                renumics.run(program, file)
            return
        assert html is not None, "without a program there is a page"
        skipped = write_page(Path(html), opened, layout, columns, megabytes)
        say_missing(opened.missing)
        if skipped:
            finish(len(layout.rows), skipped, Path(html))
        say(f"{html}: {len(layout.rows)} points, {Path(html).stat().st_size / 1e6:.1f} MB")
