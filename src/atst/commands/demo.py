"""`atst demo`: the encoder that comes along, then pre-training and probing on built-in sounds."""

import os
import shutil
import sys
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from atst.commands.embed import embed
from atst.commands.pretrain import pretrain
from atst.commands.search import search
from atst.corpus import open_corpus
from atst.corpus.synthetic import write_sounds
from atst.errors import AudioError, TrainingError
from atst.evaluation.features import prepare
from atst.evaluation.report import write_probe
from atst.evaluation.simple import neighbours, simple_probe
from atst.library.library import Library
from atst.model import load as models
from atst.model.device import resolve
from atst.model.embedder import Embedder
from atst.model.encoder import SIZES
from atst.pretraining import recipe as recipes
from atst.pretraining.run import untrained
from atst.pretraining.speed import seconds_a_step
from atst.scoring.metrics import paired_bootstrap
from atst.tasks import load_task
from atst.training import precision
from atst.training.launch import check_processes, hold, stopped

TASK, RECIPE, SHIPPED = "synthetic", "nano", "atst-nano"
STEPS = 150
KEYS = ("warmup_steps=20", "checkpoint_minutes=1")
TRAINING_SECONDS = 180.0  # of at most six minutes in all; whitening and probes need the rest
QUERIES, NEIGHBOURS = 6, 5  # on the page of neighbours
METHODS = ("logistic regression", "nearest neighbours")
Right = NDArray[np.bool_]  # (2, m): whether each method has test clip i right


def demo(
    folder: Path | str | None = None,
    /,
    *,
    out: Path | str = Path("demo"),
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto",
) -> None:
    """Listen to what the encoder `atst-nano` finds alike, then train one from scratch, offline, in minutes.

    For example:

        atst demo ~/recordings --out demo

    First a page of nearest neighbours by `atst-nano`, among your recordings or built-in sounds. Then the
    encoder of recipe `nano` is trained on built-in sounds without labels, with far fewer steps, and has to
    tell their instruments apart, beside the same encoder untrained, read in the same way, and log-mel
    statistics; differences have a paired 95% bootstrap interval. The sounds are synthetic: this shows that
    learning works, not how good it is on yours. Run again in the same folder, the demo continues where it
    stopped. On a machine where it would take more than six minutes it trains fewer steps.

    Args:
        folder: Recordings of your own for the page of neighbours. Default: built-in sounds.
        out: The folder for the page, the run (`run/`) and the probes.
        device: Where to compute.
    """
    out = Path(out)
    check_processes()
    with hold(out):
        try:
            print(
                f"Nearest neighbours by {SHIPPED}, to look at and listen to: {_page(folder, out, device)}\n"
            )
            _train(out, device)
            measured = _measure(out, device)
        except KeyboardInterrupt:
            raise stopped("The same command continues where it stopped.") from None
    print(f"\n{_verdict(measured)}\n\n{_table(measured)}\n\n{_what_next(out)}")


def _page(folder: Path | str | None, out: Path, device: Literal["auto", "cpu", "cuda", "mps"]) -> Path:
    """Embed the recordings, and write the neighbours of some of them."""
    if folder is None:
        folder = write_sounds(out / "sounds")
    rows, page = out / "sounds.parquet", out / "neighbours.html"
    rows.unlink(missing_ok=True)
    try:
        embed([folder], model=SHIPPED, out=rows, device=device)
    except AudioError as error:  # files that were left out
        if not rows.is_file():
            raise
        print(error, file=sys.stderr)
    paths = list(dict.fromkeys(Library(rows).paths))
    queries = paths[:: max(1, len(paths) // QUERIES)][:QUERIES]
    search(rows, queries, k=max(1, min(NEIGHBOURS, len(paths) - 1)), out=page, quiet=True)
    return page


def _train(out: Path, device: Literal["auto", "cpu", "cuda", "mps"]) -> None:
    if recipes.Recipe.stored(out / "run") is not None:
        pretrain([TASK], out=out / "run", resume=True, device=device)
        return
    keys = _keys(out, device)
    pretrain([TASK], out=out / "run", recipe=RECIPE, overrides=keys, resume=True, device=device)


def _keys(out: Path, device: str) -> list[str]:
    """The changes to the recipe: those of the demo, the precision, and as many steps as there is time for."""
    where = resolve(device)
    plan = recipes.resolve(RECIPE, [*KEYS, f"max_steps={STEPS}"])
    plan = precision.settle(plan, SIZES[plan.size][0], where, out / "run", resumed=False)
    needed = seconds_a_step(plan, open_corpus([TASK], plan.clip_seconds, plan.min_seconds), where)
    steps = max(1, min(STEPS, int(TRAINING_SECONDS / needed)))
    if steps < STEPS:
        minutes = STEPS * needed / 60
        text = f"{STEPS} steps would take {minutes:.0f} minutes on this machine: the demo trains {steps}"
        print(text, file=sys.stderr, flush=True)
    return [*KEYS, f"max_steps={steps}", f"precision={plan.precision}"]


def _measure(out: Path, device: str) -> dict[str, Right]:
    """What each kind of features has right; reports are written."""
    features = {
        "trained": ("trained here", str(out / "run")),
        "untrained": ("the same, untrained", str(_untrained(out))),
        "logmel": ("log-mel mean, deviation", "logmel"),
        "shipped": (SHIPPED, SHIPPED),
    }
    return {
        name: _right(models.load(model, device), out / folder, device)
        for folder, (name, model) in features.items()
    }


def _untrained(out: Path) -> Path:
    """The folder of the encoder that the training began with, whitened as the trained one."""
    folder, plan = out / "start", recipes.Recipe.stored(out / "run")
    if plan is None:
        raise TrainingError(f"{out / 'run'}: recipe.yaml is missing.")
    if not (folder / "config.json").is_file():
        untrained(plan, open_corpus([TASK], plan.clip_seconds, plan.min_seconds)).save(folder)
    return folder


def _right(model: Embedder, out: Path, device: str) -> Right:
    probe = simple_probe(prepare(model, load_task(TASK), device=device))
    write_probe(probe, out)
    data = probe.data
    test = data.splits.test[:, 0]
    answers = (probe.tested.logits, neighbours(data, data.splits.train[:, 0], test))
    return np.stack([(each.argmax(1) == data.labels_of(test)).numpy() for each in answers])


def _table(measured: dict[str, Right]) -> str:
    """Accuracies, then the differences to the trained encoder."""
    lines = [f"{'features':<26}" + "".join(f"{method:>28}" for method in METHODS)]
    for name, right in measured.items():
        lines.append(f"{name:<26}" + "".join(f"{value:>28.3f}" for value in right.mean(1)))
    lines.append("trained here, minus (95% interval)")
    for name, differences in _differences(measured).items():
        cells = (f"{gain:+.3f} ({low:+.3f} to {high:+.3f})" for gain, low, high in differences)
        lines.append(f"  {name:<24}" + "".join(f"{cell:>28}" for cell in cells))
    return "\n".join(lines)


def _differences(measured: dict[str, Right]) -> dict[str, list[tuple[float, float, float]]]:
    """Of the trained encoder to what had no training: gain, low, high of both methods."""
    trained, *others = list(measured)[:3]
    return {
        name: [paired_bootstrap(a, b) for a, b in zip(measured[trained], measured[name], strict=True)]
        for name in others
    }


def _verdict(measured: dict[str, Right]) -> str:
    """What the intervals say, in words."""
    said = []
    for name, differences in _differences(measured).items():
        ahead = [method for method, (_, low, _) in zip(METHODS, differences, strict=True) if low > 0]
        behind = [method for method, (_, _, high) in zip(METHODS, differences, strict=True) if high < 0]
        open_ = [method for method in METHODS if method not in ahead + behind]
        parts = {"ahead": ahead, "behind": behind, "no difference that could be shown": open_}
        text = "; ".join(f"{how} by {' and '.join(which)}" for how, which in parts.items() if which)
        said.append(f"Against {name}: {text}.")
    if not all(low > 0 for differences in _differences(measured).values() for _, low, _ in differences):
        said.insert(
            0, "Minutes of training did not show a gain everywhere; docs/results.md has what hours gave."
        )
    return "\n".join(said)


def _what_next(out: Path) -> str:
    # The environment that `make demo` made is not active in the user's shell.
    atst = "atst" if shutil.which("atst") else os.path.relpath(Path(sys.executable).with_name("atst"))
    return f"""Sounds alike by {SHIPPED}:  {out / "neighbours.html"}
How the training went:      {out / "run" / "report.html"}
What the probe found:       {out / "trained" / "report.html"}

With files of your own:
  {atst} embed FOLDER --model {SHIPPED} --out embeddings.parquet
  {atst} pretrain FOLDER --out runs/mine --recipe {RECIPE}
  {atst} probe LABELS.csv --model runs/mine --out probes/mine
LABELS.csv has the columns path, label, and split (train, valid, test) or fold."""
