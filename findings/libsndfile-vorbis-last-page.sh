#!/usr/bin/env bash
# libsndfile: after a seek to the last page of an Ogg Vorbis file, what is read is late by the samples that are
# cut off at the file's end; a seek to the page before, and reading on, is exact. Exits 0 while that is so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check numpy==2.2.6 soundfile==0.14.0
cd "$folder"
venv/bin/python - <<'PYTHON'
import sys

import numpy as np
import soundfile

RATE, SECONDS = 44100, 5.0
time = np.arange(int(SECONDS * RATE)) / RATE
sweep = (0.5 * np.sin(2 * np.pi * (200 + 300 * time) * time)).astype(np.float32)
with soundfile.SoundFile("a.ogg", "w", RATE, 1, "VORBIS") as file:
    for begin in range(0, len(sweep), RATE):
        file.write(sweep[begin : begin + RATE])
with soundfile.SoundFile("a.ogg") as file:
    whole = file.read(dtype="float32")
print("libsndfile", soundfile.__libsndfile_version__, "-", len(whole), "samples, as many as written")


def late(back: int, before: int) -> tuple[int, float]:
    """How many samples too late the last `back` are, read after a seek `before` samples ahead of them."""
    begin = len(whole) - back
    with soundfile.SoundFile("a.ogg") as file:
        file.seek(begin - before)
        file.read(before)
        got = file.read(60, dtype="float32")
    errors = [float(np.abs(whole[begin + n : begin + n + 60] - got).max()) for n in range(back - 60)]
    return int(np.argmin(errors)), round(min(errors), 6)


on_last = [late(back, 0) for back in (20000, 4000, 1000)]
earlier = [late(back, 150000) for back in (20000, 4000, 1000)]
print("20000, 4000 and 1000 samples before the end: (samples late, largest difference to the whole there)")
print("after a seek there, on the last page:", on_last)
print("after a seek to an earlier page, and reading on:", earlier)
sys.exit(0 if all(n for n, _ in on_last) and not any(n for n, _ in earlier) else "the behaviour has changed")
PYTHON
