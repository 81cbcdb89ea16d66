#!/usr/bin/env bash
# FFmpeg (by PyAV): after a seek in FLAC in Ogg the first frame's time stamp is not that of its samples, but up to
# a page later; without a seek all stamps are right. Exits 0 while that is so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check numpy==2.2.6 av==18.1.0
cd "$folder"
venv/bin/python - <<'PYTHON'
import sys

import av
import numpy as np

RATE = 44100
time = np.arange(5 * RATE) / RATE
sweep = (16000 * np.sin(2 * np.pi * (200 + 300 * time) * time)).astype(np.int16)
with av.open("a.oga", "w", format="ogg") as container:
    stream = container.add_stream("flac", rate=RATE, layout="mono")
    for begin in range(0, len(sweep), 4096):
        frame = av.AudioFrame.from_ndarray(sweep[None, begin : begin + 4096].copy(), "s16", "mono")
        frame.sample_rate, frame.pts = RATE, begin
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))
print("PyAV", av.__version__, "libavformat", av.library_versions["libavformat"])
wrong = 0
with av.open("a.oga") as container:
    stream = container.streams.audio[0]
    position = 0
    for frame in container.decode(stream):
        wrong += round(frame.pts * frame.time_base * RATE) != position
        position += frame.samples
print("frames with a wrong stamp, read from the start:", wrong)
offsets = []
with av.open("a.oga") as container:
    stream = container.streams.audio[0]
    for second in (2, 3, 4):
        container.seek(int(second / stream.time_base), stream=stream)
        frame = next(container.decode(stream))
        samples = frame.to_ndarray()[0]
        true = next(n for n in range(len(sweep)) if np.array_equal(sweep[n : n + len(samples)], samples))
        stamp = round(frame.pts * frame.time_base * RATE)
        offsets.append(stamp - true)
        print(f"seek to {second} s: stamp {stamp}, its samples are those from {true} on")
sys.exit(0 if wrong == 0 and any(offsets) else "the behaviour has changed")
PYTHON
