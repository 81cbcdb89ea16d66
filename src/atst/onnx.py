"""Exported models on ONNX Runtime: nothing here imports PyTorch.

model = atst.onnx.load("model.onnx")
vector = model.embed("dog.wav")
"""

import hashlib
import importlib
import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atst.cores import cores
from atst.errors import ModelError, UsageError
from atst.output.version import check_version
from atst.sound.audio import SAMPLE_RATE
from atst.sound.clips import as_clips, windows
from atst.sound.windows import WINDOW_SECONDS, Waveform

FILE = "model.onnx"  # in the folder of a classifier
KEY = "atst"  # of the file's metadata
FORMAT_VERSION = 1
SEAL = b"\x72\x4f\x0a\x0batst.sha256\x12\x40"  # of a file's last entry of metadata; 64 digits follow
LARGEST = 2**31  # bytes of an ONNX file
FIELDS = {
    "fingerprint": str,
    "depth": int,
    "cls": bool,  # vectors of windows are averaged by their length
    "readout": dict,  # options of `embed`: READOUT
    "frames": dict,  # options of `embed_frames`, and pooling
    "first_seconds": float,  # the centre of a window's first token
    "token_seconds": float,
    "least_variance": float,  # is added before the root of a variance
}
READOUT = {"layers": int, "pooling": str, "levels": str}

Floats = NDArray[np.float32]


def load(path: str | Path, device: str = "cpu") -> "OnnxModel":
    """Load what `atst export` wrote.

    Raises `ModelError` for another file, `UsageError` without ONNX Runtime or for another device.
    """
    path = Path(path)
    if device not in ("auto", "cpu"):
        raise UsageError(
            f"--device {device}: an ONNX model runs on the CPU here; give the model it was exported from."
        )
    try:
        runtime = importlib.import_module("onnxruntime")
    except ImportError:
        raise UsageError(
            f'{path}: an ONNX model needs another package: pip install "atst-audio[onnx]".'
        ) from None
    data = _intact(path)
    options = runtime.SessionOptions()
    options.intra_op_num_threads = _threads()
    options.log_severity_level = 4  # what goes wrong is raised
    # threads that wait in a loop would take the cores from the processes that decode
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = runtime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors have no class of their own in common
        reason = " ".join(str(error).split())[:200]
        raise ModelError(f"{path}: ONNX Runtime cannot run it ({reason}).") from None
    return OnnxModel(session, _about(path, session), str(path))


def sealed(model: bytes) -> bytes:
    """An ONNX model with a checksum, which is a last entry of its metadata to any other reader.

    A damaged file may be anything to ONNX Runtime, so `load` gives it none.
    """
    return model + SEAL + hashlib.sha256(model).hexdigest().encode()


class OnnxModel:
    """An exported model. It has the one read-out that it was exported with."""

    def __init__(self, session: Any, about: dict[str, Any], name: str) -> None:
        self.session = session
        self.about = about
        self.name = name
        self.fingerprint: str = about["fingerprint"]
        self.depth: int = about["depth"]
        self.token_seconds: float = about["token_seconds"]
        self._flags = _names(session.get_overridable_initializers())  # of what is computed

    def options(
        self,
        layers: int | None = None,
        pooling: str | None = None,
        levels: str | None = None,
        frames: bool = False,
    ) -> dict[str, Any]:
        """The read-out. Raises `UsageError` where another one is asked for."""
        own: dict[str, Any] = self.about["frames" if frames else "readout"]
        asked = {"layers": layers, "levels": levels} | ({} if frames else {"pooling": pooling})
        for key, value in asked.items():
            if value is not None and value != own.get(key):
                raise UsageError(
                    f"{self.name}: exported with {key} {own.get(key)}; export it anew with --{key} {value}."
                )
        return own

    def embed(
        self,
        sound: Any,
        *,
        sample_rate: int | None = None,
        layers: int | None = None,
        pooling: str | None = None,
        levels: str | None = None,
        batch_size: int = 1,
    ) -> Floats:
        """Embed whole clips, as `AudioModel.embed` does: the same forms of sound, the same errors.

        Windows of a recording over 60 s are averaged by duration, or their statistics are merged before they
        are whitened. Clips are computed one by one. Raises `UsageError` for another read-out than the
        model's.
        """
        self.options(layers, pooling, levels)
        single, clips = as_clips(sound)
        names = ["embedding"] if self.about["cls"] else self._statistics()
        vectors = [
            self._merged([(len(w), self._run(w, names, "with_clips")) for w in windows(clip, sample_rate)])
            for clip in clips
        ]
        return vectors[0] if single else np.stack(vectors)

    def embed_frames(
        self,
        sound: Any,
        *,
        sample_rate: int | None = None,
        layers: int | None = None,
        levels: str | None = None,
    ) -> tuple[NDArray[np.float64], Floats]:
        """Centres in seconds `(P,)` and tokens `(P, F)` of one clip, as those of `AudioModel`."""
        self.options(layers, None, levels, frames=True)
        single, clips = as_clips(sound)
        if not single:
            raise UsageError("embed_frames takes one clip; call it once for each.")
        found = windows(clips[0], sample_rate)
        tokens = [self._run(window, ["frames"], "with_frames")["frames"][0] for window in found]
        centres = [
            number * WINDOW_SECONDS + self.about["first_seconds"] + np.arange(len(part)) * self.token_seconds
            for number, part in enumerate(tokens)
        ]
        return np.concatenate(centres), np.concatenate(tokens)

    def save(self, folder: str | Path) -> None:
        """Copy the file into a folder, as `model.onnx`."""
        shutil.copyfile(self.name, Path(folder) / FILE)

    def _statistics(self) -> list[str]:
        named = {output.name for output in self.session.get_outputs()}
        return [name for name in ("embedding", "count", "statistics") if name in named]

    def _run(self, waveform: Waveform, names: list[str], part: str) -> dict[str, Floats]:
        """These outputs for one window, and the flag of the part of the graph that has them."""
        inputs = {"waveform": waveform[None]} | {flag: np.array(flag == part) for flag in self._flags}
        try:
            return dict(zip(names, self.session.run(names, inputs), strict=True))
        except Exception as error:
            raise ModelError(f"{self.name}: cannot be run: {' '.join(str(error).split())[:200]}") from None

    def _merged(self, parts: list[tuple[int, dict[str, Floats]]]) -> Floats:
        """The vector of a clip from those of its windows, with their samples."""
        if len(parts) == 1:
            return parts[0][1]["embedding"][0]
        pooling = self.about["readout"]["pooling"]
        if self.about["cls"] or pooling not in ("statistics", "whitened"):
            weights = [samples if self.about["cls"] else outputs["count"][0, 0] for samples, outputs in parts]
            return np.average([outputs["embedding"][0] for _, outputs in parts], 0, weights).astype(
                np.float32
            )
        before = "statistics" if pooling == "whitened" else "embedding"
        counts = np.concatenate([outputs["count"] for _, outputs in parts]).astype(float)  # (windows, 1)
        values = np.concatenate([outputs[before] for _, outputs in parts]).astype(float)
        merged = _merge(counts, values, self.about["least_variance"])
        return (self._whitened(merged) if pooling == "whitened" else merged).astype(np.float32)

    def _whitened(self, vector: NDArray[np.float64]) -> NDArray[np.float64]:
        names = [f"whitening_{key}" for key in ("mean", "std", "directions", "gains")]
        found = self._run(np.zeros(SAMPLE_RATE, np.float32), names, "with_whitening")
        mean, std, directions, gains = found.values()
        standard = (vector - mean) / std
        whitened: NDArray[np.float64] = standard + ((directions @ standard) * (gains - 1.0)) @ directions
        return whitened


def _merge(counts: NDArray[np.float64], vectors: NDArray[np.float64], least: float) -> NDArray[np.float64]:
    """Means, deviations and maxima over time of a clip from those of its windows `(windows, 3 * F)`."""
    means, stds, maxima = np.split(vectors, 3, axis=1)
    mean = (means * counts).sum(0) / counts.sum()
    variances = (stds**2 - least + (means - mean) ** 2) * counts
    std = np.sqrt(variances.sum(0) / counts.sum() + least)
    return np.concatenate([mean, std, maxima.max(0)])


def _intact(path: Path) -> bytes:
    """What is in a file of `atst export`. Raises `ModelError` for another one, or a damaged one."""
    if not path.is_file():
        raise ModelError(f"{path}: no such file.")
    try:
        data = path.read_bytes() if path.stat().st_size < LARGEST else b""
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror}.") from None
    if data != sealed(data[: -len(sealed(b""))]):
        what = "not an ONNX file as `atst export` wrote it: another one, or damaged (its checksum is wrong)"
        raise ModelError(f"{path}: {what}. Copy it again, or export it anew.")
    return data


def _about(path: Path, session: Any) -> dict[str, Any]:
    """Our metadata of a file. Raises `ModelError` where it has none, or of another version or form."""
    try:
        about = json.loads(session.get_modelmeta().custom_metadata_map[KEY])
        version = about["format_version"]
    except (ValueError, TypeError, KeyError, RecursionError):
        raise ModelError(f"{path}: its metadata '{KEY}' cannot be read.") from None
    check_version(version, FORMAT_VERSION, path, ModelError)
    wrong = [key for key, kind in FIELDS.items() if not isinstance(about.get(key), kind)]
    for part in {"readout", "frames"}.difference(wrong):
        if {key: type(value) for key, value in about[part].items()} != READOUT:
            wrong.append(part)
    needed = {"embedding", "frames"} | (set() if about.get("cls") else {"count"})
    wrong += needed - set(_names(session.get_outputs()))
    if wrong or _names(session.get_inputs()) != ["waveform"]:
        text = ", ".join(sorted(wrong)) or "its input"
        raise ModelError(f"{path}: damaged: {text} is not what it must be.")
    return dict(about)


def _names(values: Sequence[Any]) -> list[str]:
    return [value.name for value in values]


def _threads() -> int:
    """As many as PyTorch would take."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return min(cores(), int(asked)) if asked.isdigit() and int(asked) else cores()
