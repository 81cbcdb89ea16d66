"""Which recording a table means, and how long it is."""

import difflib
import os
import re
from collections.abc import Iterable
from pathlib import Path

from atst.errors import AudioError
from atst.events.event import Refused, Table
from atst.output.skipped import Skipped
from atst.sound import isolated
from atst.sound.audio import SAMPLE_RATE, AudioInfo
from atst.sound.walk import has_audio_name, walk

# What programs put behind a recording's name when they name its table.
TAIL = re.compile(
    r"(\.Table\.?\d+(\.selections)?\.txt|\.selections\.txt|\.BirdNET\.selection\.table\.txt"
    r"|\.BirdNET\.results(\.r|\.kaleidoscope)?\.(csv|txt)|[_.]labels\.txt|\.audacity\.txt)$",
    re.IGNORECASE,
)
SHOWN = 5  # recordings that a message names
EXACT = ("wav", "wavex", "flac", "aiff", "w64", "rf64", "au", "caf")  # containers that count their samples
MINUTE = 60.0  # s decoded at a time


class Recordings:
    """The audio files among which a name is looked for."""

    def __init__(self, folders: Iterable[Path], beside_first: bool) -> None:
        """`beside_first`: of several with one name, that in the table's own folder is meant."""
        self.folders = list(folders)
        self._beside_first = beside_first
        self._by_name: dict[str, list[Path]] = {}
        self._by_stem: dict[str, list[Path]] = {}
        self.skipped: list[Skipped] = []  # folders and files that could not be looked at
        self._infos: dict[Path, AudioInfo] = {}
        self._measured: dict[Path, float] = {}  # s
        for path in _audio(self.folders, self.skipped):
            self._by_name.setdefault(_without_case(path.name), []).append(path)
            self._by_stem.setdefault(path.stem, []).append(path)

    def find(self, name: str, source: Path, line: int | None = None) -> Path:
        """The recording with this file name, or this stem; the suffix is case-blind. Raises `Refused`."""
        found = self._search(name, source)
        where = ", ".join(map(str, self.folders[:SHOWN]))
        if len(found) > 1:
            listed = ", ".join(map(str, found[:SHOWN]))
            text = f"recording '{name}' could be each of: {listed}; name the right folder by --audio."
            raise Refused("several recordings match", text, line)
        if not found:
            alike = difflib.get_close_matches(name, self._by_name, n=3)
            hint = f"; there are: {', '.join(alike)}" if alike else f"; {len(self._by_name)} others are there"
            text = f"no recording '{name}' under {where}{hint}. Say where by --audio DIR."
            raise Refused("no recording matches", text, line)
        return found[0]

    def of_table(self, source: Path, table: Table) -> Path:
        """The one recording of a table whose rows name none: that of its own name. Raises `Refused`."""
        names = [*table.recordings, *own_names(source)]
        for name in names:
            if self._search(name, source):
                return self.find(name, source)
        return self.find(names[0], source)

    def info(self, path: Path) -> AudioInfo:
        """What a recording's header says. Raises `Refused`."""
        if path not in self._infos:
            try:
                self._infos[path] = isolated.info(path)
            except AudioError as error:
                raise Refused("recording not readable", f"its recording cannot be read: {error}") from error
        return self._infos[path]

    def seconds(self, path: Path, reaching: float = 0.0) -> float:
        """How long a recording is, by its header.

        The header of a compressed one only tells about how long; where it says less than `reaching`, the
        recording is decoded to its end. Raises `Refused`.
        """
        header = self.info(path)
        if reaching <= header.seconds or header.format.lower() in EXACT:
            return header.seconds
        if path not in self._measured:
            try:
                samples = sum(map(len, isolated.stream(path, MINUTE)))
            except AudioError as error:
                raise Refused("recording not readable", f"its recording cannot be read: {error}") from error
            self._measured[path] = samples / SAMPLE_RATE
        return self._measured[path]

    def _search(self, name: str, source: Path) -> list[Path]:
        found = self._by_name.get(_without_case(name), [])
        if not found and not has_audio_name(name):
            found = self._by_stem.get(name, [])
        if len(found) > 1 and self._beside_first:
            beside = [path for path in found if path.parent == source.parent]
            return beside or found
        return found


def own_names(source: Path) -> list[str]:
    """What a table's own name says its recording is called, likeliest first."""
    without_tail = TAIL.sub("", source.name)
    return [source.stem] if without_tail == source.name else [without_tail, source.stem]


def _audio(folders: list[Path], skipped: list[Skipped]) -> list[Path]:
    """The audio files under the folders, each once."""
    found: dict[str, Path] = {}
    seen: set[str] = set()
    for folder in folders:
        for path in walk(folder, skipped, seen):
            found.setdefault(os.path.realpath(path), Path(path))
    return list(found.values())


def _without_case(name: str) -> str:
    """A file name with its suffix in lower case."""
    stem, dot, suffix = name.rpartition(".")
    return f"{stem}{dot}{suffix.lower()}"
