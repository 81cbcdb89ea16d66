"""Made-up tables are read as the command reads them, against recordings of silence."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from atst.events.collect import collect
from atst.events.event import Options, Refused
from atst.events.recordings import Recordings

LENGTHS = {"a.wav": 60, "b.WAV": 60, "c.flac": 10, "x.wav.wav": 5}  # s


@pytest.fixture(scope="session")
def audio(tmp_path_factory) -> Path:
    """Recordings of silence at 4 kHz; `stereo.wav` has two channels."""
    folder = tmp_path_factory.mktemp("audio")
    for name, seconds in LENGTHS.items():
        soundfile.write(folder / name, np.zeros(seconds * 4000, np.int16), 4000)
    soundfile.write(folder / "stereo.wav", np.zeros((8000, 2), np.int16), 4000)
    return folder


@pytest.fixture
def read_all(audio, tmp_path):
    """Reads a text or bytes as the file `name`; the result has refusals in it."""

    def read_all(content: str | bytes, name: str = "a.txt", **options):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return collect([path], Options(**options), Recordings([audio], beside_first=False))

    return read_all


@pytest.fixture
def read(read_all):
    """The events of a text as (recording, start, end, label); raises what it is refused for."""

    def read(content: str | bytes, name: str = "a.txt", **options):
        found = read_all(content, name, **options)
        if found.refused:
            raise found.refused[0][1]
        return [(e.path.name, round(e.start, 6), round(e.end, 6), e.label) for e in found.events]

    return read


@pytest.fixture
def refused(read):
    """The refusal of a text, which must be for `reason`; its words must hold all of `holds`."""

    def refused(content: str | bytes, reason: str, *holds: str, name: str = "a.txt", **options) -> Refused:
        with pytest.raises(Refused) as error:
            read(content, name, **options)
        assert error.value.reason == reason, error.value
        for words in holds:
            assert words in str(error.value)
        return error.value

    return refused
