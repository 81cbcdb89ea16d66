"""`atst convert`: the authors' checkpoints become model folders, and models their checkpoints."""

from pathlib import Path
from typing import Literal

from atst.errors import UsageError
from atst.model import official
from atst.model.audio_model import AudioModel
from atst.model.load import load


def convert(
    model: str | Path,
    /,
    *,
    out: Path | str | None = None,
    to_official: Path | str | None = None,
    network: Literal["teacher", "student"] = "teacher",
) -> None:
    """Turn a checkpoint of the ATST authors into a model folder, or a model into such a checkpoint.

    For example:

        atst convert small.ckpt --out models/small

        atst convert runs/mine --to-official mine.ckpt

    Give `--out` for the first, `--to-official` for the second. Nothing in a checkpoint is executed; one
    that is damaged, incomplete or of another method is an error that says so. A model folder holds the
    encoder alone, so a checkpoint written from it has freshly drawn heads: it can be evaluated with the
    authors' code, not trained further.

    Args:
        model: A checkpoint in the authors' form, new or old; with `--to-official` any model of the
            sizes small and base.
        out: The model folder to write. It must not exist, or be empty.
        to_official: The checkpoint file to write. It must not exist.
        network: Which network of the checkpoint to take; the authors evaluate the teacher.

    Raises:
        UsageError: not exactly one of `out` and `to_official`, or it exists.
        ModelError: a checkpoint that cannot be used, or a size that the authors' code lacks.
    """
    if (out is None) == (to_official is None):
        raise UsageError("give either --out DIR (a model folder) or --to-official FILE.ckpt.")
    if to_official is not None:
        _write_checkpoint(model, Path(to_official), network)
    elif out is not None:
        _write_folder(model, Path(out), network)


def _write_folder(checkpoint: Path | str, out: Path, network: str) -> None:
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise UsageError(f"--out {out} exists and is not an empty folder; name another.")
    converted = official.load(checkpoint, network)
    converted.save(out)
    config = converted.config
    print(f"{out}: {config.size} encoder ({network}), segments of {config.segment_seconds:g} s.")


def _write_checkpoint(model: Path | str, file: Path, network: str) -> None:
    if file.exists():
        raise UsageError(f"--to-official {file} exists; name another.")
    loaded = official.load(model, network) if Path(model).is_file() else load(model)
    if not isinstance(loaded, AudioModel):
        raise UsageError(
            f"{model} has no encoder to convert; give a model folder, a run folder or random:SIZE."
        )
    official.save(loaded, file)
    print(f"{file}: {loaded.config.size} encoder in the authors' form; its heads are freshly drawn.")
