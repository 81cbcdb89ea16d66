"""Embed recordings with a model that `atst export` wrote; needs onnxruntime, soundfile, soxr and numpy.

    python embed_model.py RECORDING... [--out rows.npz]

Prints a line for each row, or writes an archive of NumPy arrays: path, start and end in seconds, embedding.
A recording of more than 60 s gives one row for each window of 60 s. The model is the .onnx file beside this
program whose name follows `embed_`.
"""

import argparse
from pathlib import Path

import numpy as np
import onnxruntime
import soundfile
import soxr

MODEL = Path(__file__).with_name(Path(__file__).stem.removeprefix("embed_") + ".onnx")
RATE, WINDOW, SHORTEST_TAIL = 16000, 960000, 160  # Hz, samples, samples


def embed(
    session: onnxruntime.InferenceSession, path: str | Path
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Start and end of the windows of a recording in seconds, `(R,)` each, and their vectors `(R, D)`."""
    samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    if not len(samples) or not np.isfinite(samples).all():
        raise ValueError(f"{path}: no samples, or some that are not finite")
    waveform = samples.mean(axis=1)
    if rate != RATE:
        waveform = soxr.resample(waveform, rate, RATE, quality="HQ")
    starts = [at for at in range(0, len(waveform), WINDOW) if at == 0 or len(waveform) - at >= SHORTEST_TAIL]
    ends = [min(at + WINDOW, len(waveform)) for at in starts]
    clips = {
        flag.name: np.array(flag.name == "with_clips") for flag in session.get_overridable_initializers()
    }
    vectors = [
        session.run(["embedding"], {"waveform": waveform[None, start:end], **clips})[0][0]
        for start, end in zip(starts, ends, strict=True)
    ]
    return np.array(starts) / RATE, np.array(ends) / RATE, np.stack(vectors)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Embed recordings with an exported model.")
    parser.add_argument("recordings", nargs="+")
    parser.add_argument("--out", help="an .npz file to write instead of printing")
    arguments = parser.parse_args()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # it would warn of inputs that have a default
    session = onnxruntime.InferenceSession(str(MODEL), options, providers=["CPUExecutionProvider"])
    columns: dict[str, list[np.ndarray]] = {"path": [], "start": [], "end": [], "embedding": []}
    for path in arguments.recordings:
        start, end, embedding = embed(session, path)
        for name, values in zip(columns, (np.full(len(start), path), start, end, embedding), strict=True):
            columns[name].append(values)
    rows = {name: np.concatenate(parts) for name, parts in columns.items()}
    if arguments.out:
        np.savez(arguments.out, **rows)  # type: ignore[arg-type]
        return
    for path, start, end, vector in zip(*rows.values(), strict=True):
        print(f"{path}\t{start:.2f}\t{end:.2f}\t" + " ".join(f"{value:.6g}" for value in vector))


if __name__ == "__main__":
    main()
