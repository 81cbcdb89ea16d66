"""`atst convert`: the authors' checkpoints become model folders, and models their checkpoints."""

import sys
from pathlib import Path
from typing import Literal

from atst.errors import UsageError
from atst.model import official, official_finetuned
from atst.model.audio_model import AudioModel
from atst.model.classifier import Classifier
from atst.model.load import load
from atst.tasks import classes_of


def convert(
    model: str | Path,
    /,
    *,
    out: Path | str | None = None,
    task: str | Path | None = None,
    data: Path | str | None = None,
    to_official: Path | str | None = None,
    network: Literal["teacher", "student"] = "teacher",
) -> None:
    """Turn a checkpoint of the ATST authors into a model folder, or a model into such a checkpoint.

    For example:

        atst convert small.ckpt --out models/small

        atst convert finetuned.ckpt --out models/sounds --task us8k --data UrbanSound8K

        atst convert runs/mine --to-official mine.ckpt

    Give `--out` for the first two, `--to-official` for the third. A checkpoint that the authors fine-tuned
    becomes a classifier, for atst predict. Nothing in a checkpoint is executed; a checkpoint that is damaged,
    incomplete or of another method is refused with an explanation. A model folder holds the
    encoder alone, so a checkpoint written from it has freshly drawn heads: it can be evaluated with the
    authors' code, not trained further.

    Args:
        model: A checkpoint in the authors' form, new or old; with `--to-official` any model of the
            sizes small and base.
        out: The model folder to write; it must be new or empty.
        task: For a fine-tuned checkpoint: the task of its classes, a registered name or the path of a
            meta.csv. Their names and order become the labels; without it they are 0, 1, ...
        data: Folder with the metadata files of a registered task. Default: its folder in $ATST_DATA.
        to_official: The checkpoint file to write. It must not exist.
        network: Which network of the checkpoint to take; the authors evaluate the teacher.

    Raises:
        UsageError: not exactly one of `out` and `to_official`, or it exists; a task that does not fit.
        ModelError: the checkpoint cannot be used, or the authors' code does not have this size.
    """
    if (out is None) == (to_official is None):
        raise UsageError("give either --out DIR (a model folder) or --to-official FILE.ckpt.")
    if to_official is not None:
        if task is not None:
            raise UsageError("--task goes with --out, for a fine-tuned checkpoint.")
        _write_checkpoint(model, Path(to_official), network)
    elif out is not None:
        if Path(out).exists() and not (Path(out).is_dir() and not any(Path(out).iterdir())):
            raise UsageError(f"--out {out} exists and is not an empty folder; name another.")
        finetuned = official_finetuned.load(model)
        if finetuned is not None:
            _write_classifier(finetuned, Path(out), task, data)
        elif task is not None:
            raise UsageError(f"--task {task}: {model} is not a fine-tuned checkpoint; leave it out.")
        else:
            _write_folder(model, Path(out), network)


def _write_classifier(
    classifier: Classifier, out: Path, task: str | Path | None, data: Path | str | None
) -> None:
    count = len(classifier.labels)
    if task is None:
        text = (
            f"its {count} classes are called 0 to {count - 1}, and a clip is assumed to have exactly one of "
            "them; --task NAME names them"
        )
        print(f"warning: {text}", file=sys.stderr)
    else:
        classifier.labels, classifier.multi_label = classes_of(task, data)
        if len(classifier.labels) != count:
            raise UsageError(
                f"--task {task}: has {len(classifier.labels)} classes, the checkpoint's head {count}."
            )
    classifier.save(out, "unknown" if task is None else str(task), "by the authors' code")
    assert isinstance(classifier.encoder, AudioModel), "checkpoints hold encoders"
    size = classifier.encoder.config.size
    print(f"{out}: classifier of {count} classes on a {size} encoder; scores are not calibrated.")


def _write_folder(checkpoint: Path | str, out: Path, network: str) -> None:
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
