#!/usr/bin/env bash
# FFmpeg (by PyAV): ALAC that it writes to CAF and reads again ends some samples early, though header and file hold
# all of them; the same in QuickTime and Matroska is complete. Exits 0 while that is so.
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
tone = (16000 * np.sin(2 * np.pi * 300 * np.arange(RATE) / RATE)).astype(np.int16)
print("PyAV", av.__version__, "libavformat", av.library_versions["libavformat"], "-", RATE, "samples written")
read = {}
for name in ("caf", "mov", "matroska"):
    with av.open(f"a.{name}", "w", format=name) as container:
        stream = container.add_stream("alac", rate=RATE, layout="mono")
        for begin in range(0, RATE, 4096):
            frame = av.AudioFrame.from_ndarray(tone[None, begin : begin + 4096].copy(), "s16p", "mono")
            frame.sample_rate, frame.pts = RATE, begin
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with av.open(f"a.{name}") as container:
        stream = container.streams.audio[0]
        read[name] = sum(frame.samples for frame in container.decode(stream))
        header = stream.duration and round(stream.duration * stream.time_base * RATE)
        print(f"{name:9} header {header}, decoded {read[name]}")
sys.exit(0 if read["caf"] < read["mov"] == read["matroska"] == RATE else "the behaviour has changed")
PYTHON
