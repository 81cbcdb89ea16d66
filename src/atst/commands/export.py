"""`atst export`: a model becomes an ONNX file that runs without PyTorch."""

from pathlib import Path
from typing import Literal

from atst.commands._options import Flag
from atst.corpus.synthetic import SyntheticCorpus
from atst.errors import UsageError
from atst.model.audio_model import AudioModel
from atst.model.export import Exported
from atst.model.export import export as write
from atst.model.load import load

SECONDS = (0.02, 1.0, 5.0, 9.01, 9.02, 20.3, 61.0)  # of the sounds that the file is compared by


def export(
    model: str | Path,
    /,
    *,
    out: Path | str,
    layers: int | None = None,
    pooling: Literal["mean", "published", "statistics", "whitened"] | None = None,
    levels: Literal["blocks", "stem", "stem-last", "all"] | None = None,
    int8: Flag = False,
) -> Exported:
    """Write a model as an ONNX file, which runs on ONNX Runtime without PyTorch.

    For example:

        atst export runs/mine --out mine.onnx

    Everything is inside: front end, encoder and one read-out, by default the model's own. The input is
    `waveform` (batch, samples) at 16 kHz, at most 60 s of it; outputs are `embedding` (batch, D) and
    `frames` (batch, tokens, F). `atst embed --model mine.onnx` and `atst.onnx.load("mine.onnx")` use it, and
    their rows may stand in one library with the model's. Beside it embed_mine.py is written, a small program
    that embeds recordings with onnxruntime, soundfile, soxr and numpy alone. What the file gives is compared
    with PyTorch on built-in sounds of 0.02 to 61 s; it is written only if no value differs by more than
    0.001 (of the largest one, where that is over 1). Needs the extra `export`.

    Args:
        model: A model folder, run folder or .ckpt file, `random:SIZE`, or USER/NAME on the Hugging Face hub.
        out: The file to write, FILE.onnx; an existing one is replaced.
        layers: As in `atst embed`: blocks, counted from the last, that make up an embedding.
        pooling: As in `atst embed`: how tokens become an embedding.
        levels: As in `atst embed`: what is read.
        int8: Store the weights of the transformer in 8 bits, a smaller file. Its rows differ a little, so
            they have a fingerprint of their own; the smallest cosine to PyTorch's is printed.

    Raises:
        UsageError: an argument is invalid, the model is a feature baseline, or `onnx` is not installed.
        ModelError: the model cannot be read, or ONNX Runtime gives other values than PyTorch.
    """
    out = Path(out)
    if out.suffix != ".onnx" or out.is_dir():
        raise UsageError(f"--out {out}: must be a file whose name ends in .onnx.")
    encoder = load(model)
    if not isinstance(encoder, AudioModel):
        raise UsageError(
            f"{model}: only encoders can be exported: give a model folder, a run folder or a .ckpt."
        )
    sounds = [SyntheticCorpus(len(SECONDS), seconds).read(number) for number, seconds in enumerate(SECONDS)]
    written = write(encoder, out, sounds, layers=layers, pooling=pooling, levels=levels, int8=int8)
    loss = f"; int8 has a cosine to it of {written.cosine:.5f} or more" if int8 else ""
    about = f"float32 differs from PyTorch by at most {written.difference:.1e}{loss}"
    print(f"{written.path}: {written.bytes / 1e6:.1f} MB; {about}")
    print(f"{written.program}: embeds recordings with it")
    return written
