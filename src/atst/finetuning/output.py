"""The files that a fine-tuning writes to its `--out` folder, and its report."""

from pathlib import Path

from matplotlib.figure import Figure

from atst.finetuning.result import Finetuned, FinetuneResult
from atst.model.classifier import Head
from atst.output.html import Alert, Plot, Section, write_report
from atst.scoring.per_class import class_parts
from atst.scoring.report import headline, last_sections, selected_table
from atst.scoring.result import Selection, read_results

CURVES = (
    "Training loss, and the metric on validation clips where there are any, by epoch; dots: the epoch kept."
)


def write_finetuned(finetuned: Finetuned, folder: Path) -> None:
    """Write `model/`, `predictions.csv`, `results.json` then `report.html`; remove what resuming needed."""
    result, network, tested = finetuned.result, finetuned.network, finetuned.tested
    network.model.config.training = {
        **network.model.config.training,
        "fine-tuned on": result.task,
        "fine-tuned from": result.model,
    }
    classifier = result.as_classifier(network.model, Head([network.folded()]), tested.task)
    classifier.save(folder / "model", result.task, result.kept)
    tested.write(result, folder)
    _report(finetuned, folder / "report.html")  # a picture that cannot be drawn costs no result
    for path in (folder / "training").glob("*/*.safetensors"):
        path.unlink()


def read_result(folder: Path) -> FinetuneResult | None:
    """The result of a finished fine-tuning, or none: the report is its last file."""
    values = read_results(folder)
    if values is None or not (folder / "report.html").is_file():
        return None
    values["selected"] = [Selection(**selection) for selection in values["selected"]]
    return FinetuneResult(**values)


def _report(finetuned: Finetuned, path: Path) -> None:
    result, tested = finetuned.result, finetuned.tested
    settings = {
        "protocol": f"{result.protocol} (generation: {result.generation})",
        "features": f"last block, pooling {result.pooling}",
        "classifier": f"kept: trained on {result.kept}",
    }
    selection = f"Selected on: {result.selected_on}."
    sections = [
        Section("", [headline(result, tested), *map(Alert, result.warnings)]),
        Section("Epochs", [selection, selected_table(result), _curves(finetuned)]),
        Section("Classes", class_parts(tested.task, tested.rows, tested.logits)),
        *last_sections(result, tested.task, settings),
    ]
    write_report(path, f"Fine-tuning: {result.model} on {result.task}", sections)


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
