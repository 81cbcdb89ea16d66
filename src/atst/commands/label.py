"""`atst label`: a page on which a library is labelled, and the classifier that comes of it."""

import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from glob import escape
from pathlib import Path
from typing import Literal

import numpy as np

from atst.commands._options import Flag, Quiet
from atst.errors import TrainingError, UsageError
from atst.library.label_page import LabelPage
from atst.library.label_table import LabelTable
from atst.library.labelling import Labelling
from atst.library.learning import Learned
from atst.library.library import Library
from atst.library.places import say_missing
from atst.library.query import QueryModel
from atst.model.classifier import HEAD, LABELS, Classifier
from atst.model.embedder import Embedder
from atst.output import lock, progress
from atst.output.progress import say
from atst.output.text import writable


def label(
    library: Path | str,
    /,
    *,
    labels: Path | str,
    classes: str = "",
    multi_label: Flag = False,
    out: Path | str | None = None,
    model: Path | str | None = None,
    root: Path | str | None = None,
    pick: Literal["doubt", "random"] = "doubt",
    seed: int = 0,
    port: int = 0,
    no_browser: Flag = False,
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto",
    quiet: Quiet = False,
) -> None:
    """Label a library by ear with few labels, and get a classifier of them.

    For example:

        atst label sounds.parquet --labels meta.csv --classes dog,cat,rain --out mine

    Opens a page on this machine that plays one stretch after another: in turn the one that the classifier
    doubts most and a random one. A key says what it is, and LABELS is written after every key. The classifier
    is trained again each time; the page shows how often it is right on the fifth of each class that is held
    back. Then `atst probe meta.csv --model M` takes the table as it is, and
    `atst predict sounds/ --model mine` labels the rest. Start it again with the same table to continue.

    Args:
        library: What `atst embed` wrote: a .parquet or .npz file, or a folder of them.
        labels: The table to write, with the columns path, start, end, label (or labels) and split. One that
            exists is continued.
        classes: What stretches can be, separated by commas; more can be added on the page. Those of the table
            are there anyway.
        multi_label: A stretch may have several labels, or none of them.
        out: The folder for the classifier, written at every training.
        model: The library's model, if it is not where the library says; for --out.
        root: The folder with the recordings, if they have moved.
        pick: What to ask for: every second stretch by `doubt`, or all at `random`.
        seed: Draws the stretches.
        port: Of the page's address. Default: any that is free.
        no_browser: Only print the page's address.
        device: Where the classifier's encoder is loaded.
        quiet: Print nothing but the address.

    Raises:
        UsageError: an argument is invalid, the library cannot be labelled, or the table is being written.
        ModelError: the library's model cannot be loaded, or is another one.
    """
    path = Path(labels)
    if path.suffix.lower() != ".csv":
        raise UsageError(f"--labels {path}: the name must end in .csv.")
    if not 0 <= port < 65536:
        raise UsageError(f"--port must be 0 to 65535, not {port}.")
    with progress.quiet(quiet):
        opened = Library(library, root)
        _check(opened)
        with _alone(path):
            table = LabelTable(path, multi_label)
            labelling = Labelling(
                opened, table, classes.split(",") if classes else [], seed, pick == "random"
            )
            save = None
            if out is not None:
                save = _Saver(Path(out), labelling, QueryModel(opened, model, device).model())
            _serve(labelling, save, port, no_browser)


def _serve(labelling: Labelling, save: "_Saver | None", port: int, no_browser: bool) -> None:
    say_missing(labelling.library.missing)
    try:
        page = LabelPage(labelling, save, port)
    except OSError as error:
        raise UsageError(f"--port {port}: {error.strerror}.") from None
    with page:
        print(f"labelling at {page.server.address} (Ctrl-C ends it)", flush=True)
        if not no_browser:
            webbrowser.open(page.server.address)
        page.wait()
    table = labelling.table
    held_back = sum(label.held_back for label in table.rows)
    say(f"{writable(str(table.path))}: {len(table.rows)} labels, {held_back} of them held back")


def _check(library: Library) -> None:
    if library.metadata.get("frames"):
        raise UsageError(f"{library.path}: rows of 40 ms (--frames); embed without --frames to label.")
    if np.isnan(library.starts).any() or np.isnan(library.ends).any():
        raise UsageError(f"{library.path}: rows without start and end; embed the recordings again.")
    if len(library) < 3:
        raise UsageError(f"{library.path}: {len(library)} rows; labelling takes three or more.")


@contextmanager
def _alone(table: Path) -> Iterator[None]:
    """Hold the table against other processes. Raises `UsageError` if one has it."""
    folder = table.with_name(f".{table.name}.lock")
    try:
        with lock.held(folder):
            for left in table.parent.glob(f".{escape(table.name)}.*.tmp"):
                left.unlink(missing_ok=True)  # of a process that was killed
            yield
    except TrainingError:
        raise UsageError(
            f"--labels {table}: another atst label is writing it; finish that one first."
        ) from None
    finally:
        with suppress(OSError):
            folder.rmdir()


class _Saver:
    """Writes the classifier's folder. Raises `UsageError` for a folder of something else."""

    def __init__(self, out: Path, labelling: Labelling, encoder: Embedder) -> None:
        about = labelling.library.metadata
        if (
            out.exists()
            and not lock.is_new(out)
            and not all((out / name).is_file() for name in (HEAD, LABELS))
        ):
            raise UsageError(f"--out {out}: exists and holds no classifier; give a new folder.")
        self.out, self.labelling, self.encoder = out, labelling, encoder
        self.features = {
            "layers": 1,
            "pooling": "mean",
            "clip_seconds": None,
        }  # those of baselines, which have no others
        self.features |= {key: about[key] for key in ("layers", "pooling", "levels") if key in about}
        self.again = False  # the encoder is there already

    def __call__(self, learned: Learned) -> None:
        library, table = self.labelling.library, self.labelling.table
        head = learned.head(library.mean, library.std)
        classifier = Classifier(self.encoder, head, learned.classes, learned.multi_label, self.features)
        trained_on = f"{sum(not label.held_back for label in table.rows)} labels of atst label"
        classifier.save(self.out, writable(str(table.path)), trained_on, again=self.again)
        self.again = True
