"""What is searched for: rows of the library, or a recording that is embedded as its rows were."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from atst.errors import AtstError, ModelError, UsageError
from atst.library.similarity import directions
from atst.output.text import path_text

if TYPE_CHECKING:
    from atst.library.library import Features, Library
    from atst.model.embedder import Embedder

SLACK = 0.01  # s by which a row may reach beyond the stretch that is asked for

Stretch = tuple[float, float]  # start and end in seconds


@dataclass(frozen=True)
class Query:
    """A direction to search in, and the sound that it stands for."""

    text: str  # as it was asked for
    direction: "Features"  # (D,)
    own: NDArray[np.int64]  # rows that are the query itself: no hits
    place: Path | None  # where the recording is, if it is there
    start: float  # s; NaN: not known
    end: float


@dataclass
class QueryModel:
    """The model that the library was made with, loaded when it is first needed.

    `name` is a model to take instead of the one that the library names; it must be equal.
    """

    library: "Library"
    name: str | Path | None = None
    device: str = "auto"
    loaded: list["Embedder"] = field(default_factory=list)

    def embed(self, place: Path, stretch: Stretch | None) -> "Features":
        """The embedding (D,) of a recording, or of a stretch of it, as the library's rows are made.

        Raises `ModelError` where the model is not there or another one, `AudioError` for the recording.
        """
        from atst.sound import isolated
        from atst.sound.audio import SAMPLE_RATE

        model, about = self.model(), self.library.metadata
        sound: Any = place
        rate: dict[str, Any] = {}
        if stretch is not None:
            sound, rate = (
                isolated.read(place, stretch[0], stretch[1] - stretch[0]),
                {"sample_rate": SAMPLE_RATE},
            )
        readout = {key: about[key] for key in ("layers", "pooling", "levels") if about.get(key) is not None}
        if about.get("frames"):
            vector: Features = model.embed_frames(sound, **readout, **rate)[1].mean(0)  # type: ignore[attr-defined]
        else:
            vector = model.embed(sound, **readout, **rate)
        if vector.shape != (self.library.width,):
            raise ModelError(
                f"{self.library.path}: its rows have {self.library.width} features, and {model.name} makes "
                f"{len(vector)}: not what this model wrote."
            )
        return vector

    def model(self) -> "Embedder":
        """The model that the library was made with. Raises `ModelError`."""
        if not self.loaded:
            self.loaded.append(self._load())
        return self.loaded[0]

    def _load(self) -> "Embedder":
        from atst.model.load import load  # PyTorch: not for a query that is a row

        wanted, recorded = self.library.metadata.get("fingerprint"), str(self.library.metadata["model"])
        try:
            model = load(recorded if self.name is None else self.name, self.device)
        except ModelError as error:
            if self.name is not None:
                raise
            what = f"the library's model, {recorded}, cannot be loaded ({error})"
            raise ModelError(f"{what}. Give it with --model.") from error
        if wanted is not None and model.fingerprint != wanted:
            name = recorded if self.name is None else self.name
            raise ModelError(
                f"{name}: fingerprint {model.fingerprint}, but {self.library.path} was made with {wanted}: "
                "another model, whose embeddings cannot be compared. Give the right one with --model."
            )
        return model


def find_query(library: "Library", text: str, stretch: Stretch | None, model: QueryModel) -> Query:
    """The rows whose path `text` is, or their part in a stretch; else the recording of that name, embedded.

    A stretch that no row lies in is cut out of the recording and embedded. Raises `UsageError` for what is
    neither a row nor a file, `AtstError` where the recording is needed and not there.
    """
    own = rows_of(library, text)
    place = library.locate(int(own[0])) if len(own) else Path(text)
    if not len(own) and not Path(text).is_file():
        raise UsageError(
            f"query {text}: neither a file nor a path of the library; its paths look like {library.paths[0]}."
        )
    start, end = stretch or (0.0, np.nan)
    inside = own if stretch is None else _inside(library, own, stretch)
    if len(inside):
        if stretch is None:
            start, end = np.min(library.starts[own]), np.max(library.ends[own])
        direction = directions(library, library.vectors(inside)).mean(0)
        return Query(text, _unit(direction), inside, place, float(start), float(end))
    if place is None:
        raise AtstError(
            f"query {text}: no row lies in {start:g}-{end:g} s, and the recording, needed then, is missing. "
            "--root says where the library's recordings are now."
        )
    direction = directions(library, model.embed(place, stretch)[None])[0]
    if stretch is not None:
        own = own[(library.starts[own] < end) & (library.ends[own] > start)]
    return Query(text, direction, own, place, float(start), float(end))


def rows_of(library: "Library", text: str) -> NDArray[np.int64]:
    """The rows of a recording, by its path as stored or in another spelling of it."""
    wanted = path_text(Path(text))
    rows = [row for row, path in enumerate(library.paths) if path in (text, wanted)]
    if not rows:
        name, full = os.path.basename(wanted), os.path.abspath(wanted)  # noqa: PTH119, PTH100
        alike = ((row, path) for row, path in enumerate(library.paths) if path.endswith(name))
        rows = [row for row, path in alike if os.path.abspath(path) == full]  # noqa: PTH100
    return np.array(rows, np.int64)


def _inside(library: "Library", rows: NDArray[np.int64], stretch: Stretch) -> NDArray[np.int64]:
    start, end = library.starts[rows], library.ends[rows]
    return rows[(start >= stretch[0] - SLACK) & (end <= stretch[1] + SLACK)]


def _unit(vector: "Features") -> "Features":
    return (vector / max(float(np.linalg.norm(vector)), 1e-12)).astype(np.float32)
