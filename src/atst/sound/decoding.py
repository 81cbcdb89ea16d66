"""What a decoding process of `isolated` does: answer requests until its owner is gone. Imports no PyTorch."""

import functools
import hashlib
import json
import os
import resource
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from io import BufferedRWPair
from typing import Any

import numpy as np

from atst.errors import AudioError
from atst.sound import audio
from atst.sound.decoders import opened
from atst.sound.levels import Levels
from atst.sound.recent import Recent

MEMORY = 4 << 30  # bytes of address space that a process may take
RECENT = Recent()  # loaders ask this process for one stretch of a file after the other
ROUNDING = 1.0  # s: an end in a table may lie so far beyond the recording's

Samples = np.ndarray


@dataclass
class Notes:
    """What is noticed on the way."""

    remarks: list[str] = field(default_factory=list)
    levels: Levels = field(default_factory=Levels)


def serve(descriptor: int) -> None:
    """Answer requests until the owner is gone: what a decoding process does; they come by this socket."""
    _limit(resource.RLIMIT_AS, MEMORY)
    _limit(resource.RLIMIT_CORE, 0)
    silence = os.open(os.devnull, os.O_RDWR)
    with suppress(OSError), socket.socket(fileno=descriptor) as own, own.makefile("rwb") as channel:
        channel.write(b"ready\n")
        channel.flush()
        for stream in (1, 2):  # what decoders print is not for users
            os.dup2(silence, stream)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        while request := channel.readline():
            _answer(channel, json.loads(request))


def _answer(channel: BufferedRWPair, request: dict[str, Any]) -> None:
    """Send the replies to a request, each when the next is there: the last one is known to be the last."""
    try:
        os.chdir(request["folder"] or os.sep)  # what relative paths are relative to
    except OSError:  # they lead nowhere, and must not lead to what this process was started among
        os.chdir(os.sep)
    notes = Notes()
    replies = WORK[request["what"]](request["path"], notes, **request["arguments"])
    reply = _step(replies, request)
    while reply is not None:
        following = None if "error" in reply else _step(replies, request)
        samples = reply.pop("samples", np.zeros(0, np.float32))
        about = {"samples": len(samples), "remarks": notes.remarks, "last": following is None}
        about["high"] = notes.levels.high
        channel.write(json.dumps(reply | about).encode() + b"\n")
        channel.write(np.ascontiguousarray(samples, np.float32).data)
        channel.flush()
        reply = following


def _step(replies: Iterator[Any], request: dict[str, Any]) -> dict[str, Any] | None:
    """The next reply, an error, or None. Where it takes too long, the timer's signal ends the process."""
    path = request["path"]
    signal.setitimer(signal.ITIMER_REAL, request["limit"])
    try:
        reply = next(replies, None)
    except AudioError as error:
        return {"error": str(error)}
    except MemoryError:
        return {"error": f"{path}: decoding it takes more than {MEMORY / 2**30:g} GiB of memory"}
    except BaseException as error:
        text = " ".join(str(error).split())
        return {"error": f"{path}: its decoder failed ({type(error).__name__}: {text})"}
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    if reply is None:
        return None
    return {"samples": reply} if isinstance(reply, np.ndarray) else {"about": reply}


def _read(path: str, notes: Notes, **arguments: Any) -> Iterator[Samples]:
    yield RECENT.read(path, remarks=notes.remarks, **arguments)


def _info(path: str, notes: Notes) -> Iterator[dict[str, Any]]:
    yield asdict(audio.info(path))


def _stretch(
    path: str,
    notes: Notes,
    seconds: float,
    start: float = 0.0,
    end: float | None = None,
    where: str = "",
    **how: Any,
) -> Iterator[Samples]:
    """Consecutive windows of `seconds` of a file, or of its stretch that the table at `where` asks for."""
    count = 0
    length = None if end is None else end - start
    try:
        for window in audio.stream(
            path, seconds, start, length, remarks=notes.remarks, levels=notes.levels, **how
        ):
            yield window
            count += len(window)
    except AudioError as error:
        raise (AudioError(f"{error} ({where})") if start or end is not None else error) from None
    at = start + count / audio.SAMPLE_RATE
    if end is not None and end - at >= ROUNDING and not notes.remarks:
        raise AudioError(f"{path}: end {end:g} s is beyond its end, {at:.2f} s ({where})")
    if end is not None and end - at > ROUNDING / 100:
        notes.remarks.append(f"end {end:g} s cut to {at:.2f} s, where it ends ({where})")


def _clip(
    path: str,
    notes: Notes,
    start: float = 0.0,
    end: float | None = None,
    seconds: float | None = None,
    **how: Any,
) -> Iterator[Samples]:
    """A file or its stretch; where that is longer than `seconds`, its middle."""
    length = None if end is None else end - start
    read = RECENT.read if end else functools.partial(audio.read, levels=notes.levels)
    if seconds is not None and (expected := length or audio.info(path).seconds - start) > seconds:
        try:
            waveform = read(path, start + (expected - seconds) / 2, seconds, remarks=notes.remarks, **how)
        except AudioError:  # the length in a header is an estimate
            waveform = np.zeros(0, np.float32)
        if len(waveform) == round(seconds * audio.SAMPLE_RATE):
            yield waveform
            return
        notes.remarks.clear()
    yield audio.middle(read(path, start, length, remarks=notes.remarks, **how), seconds)


def _survey(path: str, notes: Notes, **how: Any) -> Iterator[dict[str, Any]]:
    """What is in a file, all of it decoded."""
    about = asdict(audio.info(path))
    count, digest = 0, hashlib.sha256()
    notes.levels.digest = digest
    for window in audio.stream(path, 60.0, partial=True, remarks=notes.remarks, levels=notes.levels, **how):
        count += len(window)
    about["seconds"] = count / audio.SAMPLE_RATE
    levels = notes.levels
    about |= {"peak": levels.peak, "silent": levels.silent, "clipped": levels.clipped, "high": levels.high}
    yield about | {"content": digest.hexdigest()[:32]}


def _native(path: str, notes: Notes, start: float, duration: float) -> Iterator[Any]:
    """The sample rate of a file, then a stretch of it at that rate, as far as it can be read."""
    with opened(path, partial=True, remarks=notes.remarks) as source:
        yield {"rate": source.rate}
        blocks = source.blocks(round(start * source.rate), max(1, round(duration * source.rate)))
        yield np.concatenate([np.zeros(0, np.float32), *blocks])


def _pack(path: str, notes: Notes, seconds: float, **how: Any) -> Iterator[Any]:
    """What a file's header says, then its windows."""
    yield asdict(audio.info(path))
    yield from _stretch(path, notes, seconds, **how)


WORK: dict[str, Callable[..., Iterator[Any]]] = {
    "read": _read,
    "info": _info,
    "stretch": _stretch,
    "clip": _clip,
    "native": _native,
    "pack": _pack,
    "survey": _survey,
}


def _limit(kind: int, value: int) -> None:
    hard = resource.getrlimit(kind)[1]
    with suppress(ValueError, OSError):  # where a system does not have it
        resource.setrlimit(kind, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))
