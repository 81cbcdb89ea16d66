"""A page of sounds to compare, all in one file: spectrograms, and players of just the stretch."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from atst.errors import AudioError
from atst.library import media
from atst.output.atomic import new_file
from atst.output.html import template
from atst.output.text import writable


@dataclass(frozen=True)
class Sound:
    """A stretch of a recording on the page."""

    path: str
    place: Path | None  # None: not on this disk
    start: float  # s; NaN: not known
    end: float
    note: str = ""

    @property
    def name(self) -> str:
        """The path and the stretch."""
        return f"{self.path} {stretch_text(self.start, self.end)}".rstrip()


def write_page(out: Path, title: str, groups: Sequence[tuple[str, Sequence[Sound]]]) -> None:
    """Write a page with a heading for each group and its sounds below; all text is escaped."""
    shown = (
        {"heading": heading, "sounds": ({"sound": sound, **_media(sound)} for sound in sounds)}
        for heading, sounds in groups
    )
    page = template(
        "atst.library", "sounds", finalize=lambda value: writable(value) if isinstance(value, str) else value
    )
    with new_file(out) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.writelines(page.generate(title=title, groups=shown))  # piece by piece: it may be large


def stretch_text(start: float, end: float) -> str:
    """`1.5-3 s`, or as much of it as is known."""
    if math.isnan(end):
        return "" if math.isnan(start) or not start else f"from {start:g} s"
    return f"{0.0 if math.isnan(start) else start:.6g}-{end:.6g} s"


def _media(sound: Sound) -> dict[str, str]:
    """Its picture and its sound as addresses, or why there are none."""
    try:
        if sound.place is None:
            raise AudioError("not on this disk")
        waveform, rate = media.read(sound.place, sound.start, sound.end)
    except AudioError as error:
        return {"reason": str(error), "picture": "", "player": ""}
    return {
        "reason": "",
        "picture": media.data_uri("image/png", media.picture(waveform, rate)),
        "player": media.data_uri(*media.audio_file(waveform, rate)),
    }
