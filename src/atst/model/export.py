"""A model becomes an ONNX file, which is compared with it, and a small program that runs it."""

import importlib
import json
import logging
import shutil
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from atst import onnx
from atst.errors import ModelError, UsageError
from atst.model.audio_model import AudioModel
from atst.model.frontend import FRAMES_PER_SECOND, SAMPLE_RATE
from atst.model.moments import LEAST_VARIANCE
from atst.model.onnx_graph import OnnxGraph
from atst.model.onnx_proto import make_optional, share_weights
from atst.output.atomic import new_file

TOLERANCE = (
    1e-3  # difference of PyTorch and ONNX Runtime, relative to a vector's largest value if that is over 1
)
OPSET = 17
PROGRAM = Path(__file__).with_name("standalone.py")
FLOAT32 = ("frontend", "whitening")  # parts that stay so in an int8 model, by the names of their tensors


@dataclass
class Exported:
    """What was written, and what the comparison gave."""

    path: Path
    program: Path
    difference: float  # largest, of float32 values; relative where they are over 1
    cosine: float  # smallest, of clips embedded by PyTorch and by the file
    bytes: int


def export(
    model: AudioModel,
    path: Path,
    sounds: Sequence[NDArray[np.float32]],
    *,
    layers: int | None = None,
    pooling: str | None = None,
    levels: str | None = None,
    int8: bool = False,
) -> Exported:
    """Write `path` and, beside it, the program that embeds recordings with it.

    `sounds` are waveforms at 16 kHz to compare by. Raises `ModelError` where float32 values differ by more
    than `TOLERANCE`: nothing is written then.
    """
    program = path.with_name(f"embed_{path.stem}.py")
    if program.exists() and program.read_bytes().splitlines()[:1] != PROGRAM.read_bytes().splitlines()[:1]:
        raise UsageError(
            f"{program}: is in the way: the program that runs the model gets this name. Give another --out."
        )
    clip, frames = (model.options(layers, pooling, levels, of_frames) for of_frames in (False, True))
    graph = OnnxGraph(model.cpu(), model.readout(**clip), model.readout(**frames)).eval()
    about = _about(model, clip, frames)
    with TemporaryDirectory() as folder, new_file(path) as temporary:
        traced, plain = Path(folder) / "traced.onnx", Path(folder) / "plain.onnx"
        _trace(graph, traced)
        _finish(traced, plain, about)
        difference = _difference(model, plain, sounds, clip, frames)
        if not difference <= TOLERANCE:
            raise ModelError(
                f"{path}: not written: ONNX Runtime and PyTorch differ by {difference:.2g}, more than "
                f"{TOLERANCE:g}."
            )
        if int8:
            about |= {"precision": "int8", "fingerprint": f"{about['fingerprint']}-int8"}
            _finish(_quantised(traced), plain, about)
        cosine = _cosine(model, plain, sounds, clip)
        shutil.copyfile(plain, temporary)
    with new_file(program) as temporary:
        shutil.copyfile(PROGRAM, temporary)
    return Exported(path, program, difference, cosine, path.stat().st_size)


def _about(model: AudioModel, clip: dict[str, Any], frames: dict[str, Any]) -> dict[str, Any]:
    return {
        "format_version": onnx.FORMAT_VERSION,
        "fingerprint": model.fingerprint,
        "precision": "float32",
        "depth": model.depth,
        "cls": model.readout(**clip).has_cls(model.encoder),
        "readout": clip,
        "frames": frames,
        "first_seconds": model.encoder.first_centre / FRAMES_PER_SECOND,
        "token_seconds": model.token_seconds,
        "least_variance": LEAST_VARIANCE,
    }


def _trace(graph: OnnxGraph, path: Path) -> None:
    axes = {name: {0: "batch"} for name in ("waveform", *graph.names) if not name.startswith("whitening")}
    axes["waveform"][1], axes["frames"][1] = "samples", "tokens"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # The exporter that follows the run of an example: the one that reasons about shapes does not find
        # that the number of chunks, and whether a clip fills one, is free.
        torch.onnx.export(
            graph,
            (torch.zeros(2, 10 * SAMPLE_RATE),),
            str(path),
            dynamo=False,
            opset_version=OPSET,
            input_names=["waveform"],
            output_names=graph.names,
            dynamic_axes=axes,
        )
    library = _onnx()
    proto = library.load(path)
    share_weights(proto.graph)
    library.save(proto, path)


def _finish(traced: Path, path: Path, about: dict[str, Any]) -> None:
    library = _onnx()
    proto = library.load(traced)
    make_optional(proto.graph, library.helper)
    library.helper.set_model_props(proto, {onnx.KEY: json.dumps(about)})
    path.write_bytes(onnx.sealed(proto.SerializeToString()))


def _quantised(path: Path) -> Path:
    """The same model with the weights of its matrix products in 8 bits."""
    library, quantization = _onnx(), importlib.import_module("onnxruntime.quantization")
    fixed = [
        node.name
        for node in library.load(path).graph.node
        if any(part in name for name in (node.name, *node.input) for part in FLOAT32)
    ]
    out = path.with_name("int8.onnx")
    logging.disable(logging.WARNING)  # it recommends a preparation that this graph does not need
    try:
        quantization.quantize_dynamic(path, out, op_types_to_quantize=["MatMul"], nodes_to_exclude=fixed)
    finally:
        logging.disable(logging.NOTSET)
    return out


def _difference(
    model: AudioModel,
    path: Path,
    sounds: Sequence[NDArray[np.float32]],
    clip: dict[str, Any],
    frames: dict[str, Any],
) -> float:
    exported = onnx.load(path)
    tokens = {key: frames[key] for key in ("layers", "levels")}
    found = [0.0]
    for sound in sounds:
        pairs = [
            (
                model.embed(sound, sample_rate=SAMPLE_RATE, **clip),
                exported.embed(sound, sample_rate=SAMPLE_RATE),
            ),
            (
                model.embed_frames(sound, sample_rate=SAMPLE_RATE, **tokens)[1],
                exported.embed_frames(sound, sample_rate=SAMPLE_RATE)[1],
            ),
        ]
        found += [float(np.abs(one - other).max() / max(1.0, np.abs(one).max())) for one, other in pairs]
    return max(found, key=lambda value: (np.isnan(value), value))


def _cosine(
    model: AudioModel, path: Path, sounds: Sequence[NDArray[np.float32]], clip: dict[str, Any]
) -> float:
    exported = onnx.load(path)
    found = []
    for sound in sounds:
        one = model.embed(sound, sample_rate=SAMPLE_RATE, **clip)
        other = exported.embed(sound, sample_rate=SAMPLE_RATE)
        found.append(float(one @ other / (np.linalg.norm(one) * np.linalg.norm(other))))
    return min(found)


def _onnx() -> Any:
    try:
        return importlib.import_module("onnx")
    except ImportError:
        raise UsageError('exporting needs another package: pip install "atst-audio[export]".') from None
