"""The files that a fine-tuning writes to its `--out` folder, and its report."""

import json
from dataclasses import asdict
from pathlib import Path

from matplotlib.figure import Figure

from atst.finetuning.result import FinetuneResult, Selection
from atst.finetuning.run import Finetuned
from atst.model.classifier import Head
from atst.output.atomic import new_file
from atst.output.html import Alert, Headline, Plot, Section, Table, write_report
from atst.output.skipped import with_partial, write_errors
from atst.scoring.metrics import BOOTSTRAP
from atst.scoring.per_class import chance, class_parts, write_predictions

CURVES = (
    "Training loss, and the metric on validation clips where there are any, by epoch; dots: the epoch kept."
)


def write_finetuned(finetuned: Finetuned, folder: Path) -> None:
    """Write `predictions.csv`, `model/`, `results.json` then `report.html`; remove what resuming needed."""
    write_predictions(finetuned.task, finetuned.tested, finetuned.logits, folder / "predictions.csv")
    write_classifier(finetuned, folder / "model")
    with new_file(folder / "results.json") as temporary:
        temporary.write_text(json.dumps(asdict(finetuned.result), indent=2) + "\n")
    write_errors(folder, with_partial(finetuned.result.skipped, finetuned.result.partial))
    _report(finetuned, folder / "report.html")  # a picture that cannot be drawn costs no result
    for path in (folder / "training").glob("*/*.safetensors"):
        path.unlink()


def read_result(folder: Path) -> FinetuneResult | None:
    """The result of a finished fine-tuning, or none: the report is its last file."""
    if not (folder / "results.json").is_file() or not (folder / "report.html").is_file():
        return None
    values = json.loads((folder / "results.json").read_text())
    values["selected"] = [Selection(**choice) for choice in values["selected"]]
    return FinetuneResult(**values)


def write_classifier(finetuned: Finetuned, folder: Path) -> None:
    """Write what `load_classifier` reads."""
    result, network = finetuned.result, finetuned.network
    network.model.config.training = {
        **network.model.config.training,
        "fine-tuned on": result.task,
        "fine-tuned from": result.model,
    }
    classifier = result.as_classifier(network.model, Head([network.folded()]), finetuned.task)
    classifier.save(folder, result.task, result.kept)


def _report(finetuned: Finetuned, path: Path) -> None:
    result = finetuned.result
    settings = {
        "protocol": f"{result.protocol} (generation: {result.generation})",
        "labels": result.trained_on,
        "features": f"last block, pooling {result.pooling}",
        "classifier": f"kept: trained on {result.kept}",
    }
    sections = [
        Section("", [_headline(finetuned), *[Alert(text) for text in result.warnings]]),
        Section("Epochs", [f"Selected on: {result.selected_on}.", _choices(result), _curves(finetuned)]),
        Section("Classes", class_parts(finetuned.task, finetuned.tested, finetuned.logits)),
        *result.last_sections(finetuned.task, settings),
    ]
    write_report(path, f"Fine-tuning: {result.model} on {result.task}", sections)


def _headline(finetuned: Finetuned) -> Headline:
    result, calibration = finetuned.result, finetuned.result.calibration
    low, high = result.ci
    folds = [choice.fold for choice in result.selected]
    over = f"Mean over {len(folds)} folds" if len(folds) > 1 else "On the test split"
    if len(folds) == 1 and folds[0] is not None:
        over = f"Fold {folds[0]} alone"
    note = (
        f"{over}; 95% bootstrap interval over {len(finetuned.tested)} {BOOTSTRAP[finetuned.task.metric]}: "
        f"{low:.3f} to {high:.3f}. "
        f"Chance is about {chance(finetuned.task, finetuned.tested):.3f}. Expected calibration error "
        f"{calibration['expected_calibration_error_before']:.3f}"
    )
    if calibration["fitted_on_clips"]:
        note += (
            f", with a temperature of {calibration['temperature']:.3g} fitted on validation clips "
            f"{calibration['expected_calibration_error_after']:.3f}"
        )
    return Headline(f"{result.metric} {result.value:.3f}", f"{note}.")


def _choices(result: FinetuneResult) -> Table:
    header = ["fold", "epoch", "of", "validation", "test", "train clips", "valid clips", "test clips"]
    rows = [
        [
            "-" if choice.fold is None else choice.fold,
            choice.epoch,
            choice.epochs,
            "-" if choice.valid is None else f"{choice.valid:.3f}",
            f"{choice.value:.3f}",
            *choice.clips.values(),
        ]
        for choice in result.selected
    ]
    return Table(header, rows)


def _curves(finetuned: Finetuned) -> Plot:
    figure = Figure(figsize=(9.5, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for outcome in finetuned.outcomes:
        rows = outcome.history.rows
        left.plot([row["epoch"] for row in rows], [row["train_loss"] for row in rows], color="C3", alpha=0.7)
        if validated := [(row["epoch"], row["valid"]) for row in rows if "valid" in row]:
            right.plot(*zip(*validated, strict=True), color="C0", alpha=0.7)
            right.plot(outcome.epoch, rows[outcome.epoch - 1]["valid"], "o", color="C1", markersize=5)
    left.set(xlabel="epoch", ylabel="training loss")
    right.set(xlabel="epoch", ylabel=f"validation {finetuned.result.metric}")
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
    return Plot(figure, CURVES)
