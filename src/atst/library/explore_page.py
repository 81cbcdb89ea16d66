"""A map of a library as one page that holds all it needs: points, short sounds, neighbours, columns."""

import base64
import io
import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

import numpy as np
import soundfile

from atst.cores import cores
from atst.errors import AudioError
from atst.library.columns import Columns
from atst.library.layout import Layout
from atst.library.library import Library
from atst.output.atomic import write_text
from atst.output.html import template
from atst.output.progress import track
from atst.output.skipped import Skipped
from atst.output.text import writable
from atst.sound import isolated
from atst.sound.audio import SAMPLE_RATE

LONGEST, SHORTEST = 10.0, 0.4  # s of the sound of a point
BYTES, BYTES_A_SECOND = 1000, 4300  # of it in the page, about: MP3 of 24 kbit/s as text
COMPRESSION = 0.8  # of libsndfile, 0 to 1
CATEGORIES = 200  # different values of a column of names; the rest is "other"
OTHER = "other"


def write_page(
    path: Path, library: Library, layout: Layout, columns: Columns, megabytes: float
) -> list[Skipped]:
    """Write the page; what could not be read of it has no sound and is returned.

    The sounds take about `megabytes`: each is the middle of its stretch, the longer the fewer points there
    are, and of 0.4 s at least; where that is too much, only some points have one.
    """
    skipped: list[Skipped] = []
    places = [library.locate(int(row)) for row in layout.rows]
    data = {
        "name": writable(library.path.name),
        "method": layout.method,
        "total": len(library),
        "names": [writable(library.paths[row]) for row in layout.rows],
        "links": [None if place is None else _link(place, path.parent) for place in places],
        "starts": _rounded(library.starts[layout.rows]),
        "ends": _rounded(library.ends[layout.rows]),
        "points": layout.points.round(4).tolist(),
        "neighbours": layout.neighbours.tolist(),
        "columns": [_column(name, values) for name, values in columns.items()],
        "sounds": list(_sounds(library, layout, places, megabytes, skipped)),
    }
    # no text of a name can end the script that holds it
    text = json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")
    script = Path(__file__).with_name("spectrogram.js").read_text(encoding="utf-8")
    page = template("atst.library", "explore").render(title=data["name"], data=text, spectrogram=script)
    write_text(path, page)
    return skipped


def _rounded(seconds: np.ndarray) -> list[float | None]:
    return [None if np.isnan(value) else round(float(value), 3) for value in seconds]


def _link(place: Path, folder: Path) -> str:
    """The recording as seen from the page's folder."""
    return "./" + quote(os.fsencode(os.path.relpath(place, folder)))


def _column(name: str, values: Sequence[object]) -> dict[str, object]:
    """Numbers as they are; texts as places in a list of names, the most frequent first."""
    if all(isinstance(value, int | float | None) for value in values):
        return {"name": name, "numbers": [None if _nan(value) else value for value in values]}
    texts = [None if value is None else writable(str(value)) for value in values]
    names, counts = np.unique([text for text in texts if text is not None], return_counts=True)
    kept = [str(names[i]) for i in np.argsort(-counts, kind="stable")[:CATEGORIES]]
    if len(names) > CATEGORIES:
        kept.append(OTHER)
    place = {text: number for number, text in enumerate(kept)}
    codes = [None if text is None else place.get(text, len(kept) - 1) for text in texts]
    return {"name": name, "categories": kept, "codes": codes}


def _nan(value: object) -> bool:
    return isinstance(value, float) and not np.isfinite(value)


def _sounds(
    library: Library, layout: Layout, places: Sequence[Path | None], megabytes: float, skipped: list[Skipped]
) -> Iterator[str | None]:
    """MP3 in base64 for each point that has one."""
    there = [number for number, place in enumerate(places) if place is not None]
    room = megabytes * 1e6
    seconds = (room / max(1, len(there)) - BYTES) / BYTES_A_SECOND
    if seconds < SHORTEST:
        count, seconds = int(room / (BYTES + SHORTEST * BYTES_A_SECOND)), SHORTEST
        there = [there[i] for i in np.linspace(0, len(there) - 1, count).astype(int)] if count else []
    wanted = set(there)

    def read(number: int) -> str | AudioError | None:
        place, row = places[number], layout.rows[number]
        if place is None or number not in wanted:
            return None
        try:
            return _sound(place, library.starts[row], library.ends[row], min(LONGEST, seconds))
        except AudioError as error:
            return error

    with ThreadPoolExecutor(cores()) as pool:  # each thread has its decoding process
        results = pool.map(read, range(len(places)))
        for number, sound in enumerate(track(results, "reading sounds", len(places))):
            if isinstance(sound, AudioError):
                path = library.paths[layout.rows[number]]
                skipped.append((path, str(sound).removeprefix(f"{places[number]}: ")))
                yield None
            else:
                yield sound


def _sound(path: Path, start: float, end: float, seconds: float) -> str:
    """The middle `seconds` of a stretch; the beginning where its end is not known."""
    start = 0.0 if np.isnan(start) else float(start)
    if not np.isnan(end) and end - start > seconds:
        start = (start + float(end) - seconds) / 2
    waveform = isolated.read(path, start, seconds if np.isnan(end) else min(seconds, float(end) - start))
    file = io.BytesIO()
    soundfile.write(
        file,
        waveform.clip(-1, 1),
        SAMPLE_RATE,
        format="MP3",
        subtype="MPEG_LAYER_III",
        compression_level=COMPRESSION,
        bitrate_mode="VARIABLE",
    )
    return base64.b64encode(file.getvalue()).decode()
