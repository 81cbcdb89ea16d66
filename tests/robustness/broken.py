"""Makes a folder of broken and odd inputs: what users' disks hold, and what nobody would write on purpose.

Every input has a name that begins with its kind, so that outcomes can be counted by kind.
"""

import io
import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile
from kinds import KINDS, sweep, write

SECONDS = 1.5
RATE = 16000
SAMPLE = 12  # in `make test` one of so many formats
HEADERS = {"WAV-PCM_16", "WAVEX-FLOAT", "AIFF-PCM_16", "AU-PCM_16", "CAF-PCM_16", "W64-PCM_16", "FLAC-PCM_16"}
NAMES = ("two words", "it's", 'a "quote"', "two\nlines", "semi;colon,comma", "\u00fc\u0308\u4e16\U0001f3b5")
NAMES += ("%s{0}$HOME", "-dash", "a" * 240, "tab\there", "trailing ")


def make(folder: Path, every: int = 1) -> list[Path]:
    """The inputs, with the files of every so many formats; sorted by path."""
    folder.mkdir(parents=True, exist_ok=True)
    damaged = [_written(folder, *entry) for entry in _damaged(folder, every)]
    own = [_written(folder, *entry) for entry in _by_hand(folder)]
    return sorted([*damaged, *own, *_special(folder)])


def _written(folder: Path, name: str, content: bytes) -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def _damaged(folder: Path, every: int) -> Iterator[tuple[str, bytes]]:
    """Files of every kind, cut, with bits flipped, and with the start of another."""
    scratch = folder.parent / "scratch"
    scratch.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    for kind in list(KINDS.values())[::every]:
        rate = RATE if RATE in kind.rates else kind.rates[0]
        path = write(scratch / f"whole.{kind.ending}", kind, rate, sweep(rate, SECONDS))
        whole = path.read_bytes()
        name = f"{kind.name}.{kind.ending}"
        yield f"cut-half-{name}", whole[: len(whole) // 2]
        yield f"cut-head-{name}", whole[: int(rng.integers(5, 60))]
        yield f"flipped-{name}", _flipped(whole, rng, len(whole))
        yield f"flipped-head-{name}", _flipped(whole, rng, min(len(whole), 200))
        if kind.name in HEADERS:
            yield f"suffix-{kind.name}.mp3", whole
            yield f"tail-{name}", whole + bytes(rng.integers(0, 256, 3000, dtype=np.uint8))


def _flipped(content: bytes, rng: np.random.Generator, reach: int) -> bytes:
    changed = bytearray(content)
    for at in rng.integers(4, reach, 12):
        changed[at] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def _by_hand(folder: Path) -> Iterator[tuple[str, bytes]]:
    good = wav(sweep(RATE, 1.0))
    yield "good.wav", good
    yield "good-too.wav", wav(sweep(RATE, 2.0))
    for ending in ("wav", "flac", "mp3", "ogg", "m4a", "opus", "wma", "caf"):
        yield f"empty.{ending}", b""
        yield f"zeros.{ending}", bytes(4000)
        yield f"text.{ending}", b"not a recording but a line of text\n" * 40
    yield "noise.wav", bytes(np.random.default_rng(1).integers(0, 256, 20000, dtype=np.uint8))
    data = good.index(b"data") + 4
    for label, claim in (("hours", 100_000_000), ("all", 0xFFFFFFFF), ("none", 0), ("odd", 31_999)):
        yield f"claims-{label}.wav", good[:data] + struct.pack("<I", claim) + good[data + 4 :]
    for label, at, form, value in FIELDS:
        yield f"header-{label}.wav", good[:at] + struct.pack(form, value) + good[at + struct.calcsize(form) :]
    for value in (np.nan, np.inf, -np.inf, 1e38, 1e-40):
        samples = sweep(RATE, 1.0)
        samples[5000] = value
        yield f"value-{value}.wav", wav(samples, "FLOAT")
        yield f"values-{value}.wav", wav(np.full(RATE, value, np.float32), "FLOAT")
    for count in (1, 2, 100, 512, 513):
        yield f"samples-{count}.wav", wav(sweep(RATE, 1.0)[:count])
    for channels in (2, 8, 64, 255):
        yield f"channels-{channels}.wav", wav(np.repeat(sweep(RATE, 1.0)[:, None], channels, axis=1))
    for rate in (1, 100, 3999, 4000, 384_000, 768_000, 768_001, 10_000_000):
        yield f"rate-{rate}.wav", wav(sweep(RATE, 1.0), rate=rate)
    yield "silence.wav", wav(np.zeros(RATE, np.float32))
    for name in NAMES:
        yield f"name-{name}.wav", good


# what a WAV header says, where it stands, and what else it may say
FIELDS = (
    ("no-channels", 22, "<H", 0),
    ("many-channels", 22, "<H", 65535),
    ("no-rate", 24, "<I", 0),
    ("high-rate", 24, "<I", 0xFFFFFFFF),
    ("no-block", 32, "<H", 0),
    ("no-bits", 34, "<H", 0),
    ("many-bits", 34, "<H", 65535),
    ("codec", 20, "<H", 0x7777),
    ("riff", 4, "<I", 0),
    ("long-format", 16, "<I", 0x7FFFFFFF),
)


def wav(samples: np.ndarray, subtype: str = "PCM_16", rate: int = RATE) -> bytes:
    """The samples as the bytes of a WAV file."""
    stream = io.BytesIO()
    soundfile.write(stream, samples, rate, subtype, format="WAV")
    return stream.getvalue()


def _special(folder: Path) -> Iterator[Path]:
    """What is no plain file: links, pipes, sockets, a name that is not UTF-8, what may not be read."""
    good = wav(sweep(RATE, 1.0))
    odd = Path(os.fsdecode(os.fsencode(folder) + b"/bytes-\xff\xfe.wav"))
    odd.write_bytes(good)
    yield odd
    (folder / "link-loop.wav").symlink_to("link-loop.wav")
    (folder / "link-nowhere.wav").symlink_to("nowhere.wav")
    yield from (folder / "link-loop.wav", folder / "link-nowhere.wav")
    (folder / "deep").mkdir()
    (folder / "deep" / "up").symlink_to("..")  # a loop of folders
    (folder / "folder.wav").mkdir()  # empty, with a file's name
    os.mkfifo(folder / "pipe.wav")
    yield folder / "pipe.wav"
    here = Path.cwd()
    os.chdir(folder)  # the address of a socket has 107 bytes at most
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind("socket.wav")
    finally:
        os.chdir(here)
    yield folder / "socket.wav"
    denied = folder / "denied.wav"
    denied.write_bytes(good)
    denied.chmod(0)  # root reads it all the same
    yield denied
