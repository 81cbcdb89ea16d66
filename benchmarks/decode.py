"""What reading costs: a stretch against the whole file, and libsndfile against FFmpeg, for each format.

    python benchmarks/decode.py [--seconds 60] [--repeats 20]

Prints one row a format, median milliseconds: header, 6 s from the middle, the whole file.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import soundfile

from atst.sound import audio, decoders

RATE = 48000
FORMATS = {
    "wav": "pcm_s16le",
    "flac": "flac",
    "ogg": "vorbis",
    "opus": "libopus",
    "mp3": "libmp3lame",
    "m4a": "aac",
    "webm": "libopus",
}


def main() -> None:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--seconds", type=float, default=60.0)
    options.add_argument("--repeats", type=int, default=20)
    chosen = options.parse_args()
    print(f"{chosen.seconds:g} s of 48 kHz mono, median of {chosen.repeats}, ms")
    print(f"{'format':8}{'decoder':12}{'header':>10}{'6 s':>10}{'whole':>10}")
    with tempfile.TemporaryDirectory() as folder:
        for ending, codec in FORMATS.items():
            path = encode(Path(folder) / f"sound.{ending}", codec, chosen.seconds)
            for decoder in (decoders.Sndfile, decoders.Container):
                row = measure(path, decoder, chosen.seconds, chosen.repeats)
                if row:
                    print(f"{ending:8}{decoder.__name__:12}" + "".join(f"{value:10.2f}" for value in row))


def measure(path: Path, decoder: type[decoders.Source], seconds: float, repeats: int) -> list[float]:
    """Header, stretch and whole file with this decoder; nothing if it does not take the file."""
    audio.open_source = lambda name: decoder(str(name))
    try:
        audio.info(path)
    except (soundfile.SoundFileError, audio.AudioError):
        return []
    calls: list[Callable[[], object]] = [
        lambda: audio.info(path),
        lambda: audio.read(path, seconds / 2, 6.0),
        lambda: audio.read(path),
    ]
    return [median_ms(call, repeats) for call in calls]


def median_ms(call: Callable[[], object], repeats: int) -> float:
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        call()
        times.append(time.perf_counter() - begin)
    return 1000 * statistics.median(times)


def encode(path: Path, codec: str, seconds: float) -> Path:
    """A sweep in noise, as FFmpeg's encoder `codec` (libsndfile's for Vorbis) writes it."""
    clock = np.arange(round(RATE * seconds)) / RATE
    noise = np.random.default_rng(0).normal(0, 0.05, len(clock))
    samples = (0.3 * np.sin(2 * np.pi * (200 + 50 * clock) * clock) + noise).astype(np.float32)
    if codec in ("vorbis", "flac", "pcm_s16le"):
        with soundfile.SoundFile(path, "w", RATE, 1) as file:
            for part in np.array_split(
                samples, len(samples) // RATE
            ):  # libsndfile crashes on much Vorbis at once
                file.write(part)
        return path
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=RATE, layout="mono")
        layout = "s16" if codec == "libopus" else "fltp"
        values = (samples * 32767).astype(np.int16) if layout == "s16" else samples
        frame = av.AudioFrame.from_ndarray(values[None], layout, "mono")
        frame.sample_rate, frame.pts = RATE, 0
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    return path


if __name__ == "__main__":
    main()
