"""`atst demo`: pre-training and probing on built-in sounds."""

import os
import shutil
import sys
from pathlib import Path
from typing import Literal

from atst.commands.pretrain import pretrain
from atst.commands.probe import probe
from atst.corpus import open_corpus
from atst.evaluation.result import ProbeResult
from atst.model.device import resolve
from atst.model.encoder import SIZES
from atst.pretraining import recipe as recipes
from atst.pretraining.run import stored_recipe
from atst.pretraining.speed import seconds_a_step
from atst.training import precision
from atst.training.launch import check_processes, hold, stopped

TASK, RECIPE = "synthetic", "nano"
STEPS = 200
KEYS = ("batch_size=64", "learning_rate=2e-3", "warmup_steps=20", "checkpoint_minutes=1")
TRAINING_SECONDS = 270.0  # of at most six minutes in all; the probes need the rest


def demo(
    *,
    out: Path | str = Path("demo"),
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto",
) -> None:
    """Pre-train a tiny encoder on built-in sounds and show what it learned, offline, in minutes.

    For example:

        atst demo --out demo

    The encoder of recipe `nano`, with fewer steps, is trained on synthetic sounds without labels. A linear
    probe then has to tell their timbres apart, from its features, from those of the same encoder untrained,
    and from log-mel statistics. This shows that everything works, not how good the method is: the sounds are
    synthetic, and after minutes of training an encoder is seldom better than an untrained one. Run again in
    the same folder, the demo continues where it stopped. On a machine where it would take more than six
    minutes it trains fewer steps.

    Args:
        out: The folder for the run (`run/`) and the probes.
        device: Where to compute.
    """
    out = Path(out)
    check_processes()
    with hold(out):
        results = _results(out, device)
    print(f"\n{_table(results)}\n\n{_what_next(out)}")


def _results(out: Path, device: Literal["auto", "cpu", "cuda", "mps"]) -> dict[str, ProbeResult]:
    try:
        if stored_recipe(out / "run") is None:
            pretrain(
                [TASK],
                out=out / "run",
                recipe=RECIPE,
                overrides=_keys(out, device),
                resume=True,
                device=device,
            )
        else:
            pretrain([TASK], out=out / "run", resume=True, device=device)
        features = {
            "trained": ("trained encoder", str(out / "run")),
            "untrained": ("untrained encoder", "random:nano"),
            "logmel": ("log-mel statistics", "logmel"),
        }
        return {
            name: probe(TASK, model=model, out=out / folder, device=device)
            for folder, (name, model) in features.items()
        }
    except KeyboardInterrupt:
        raise stopped("The same command continues where it stopped.") from None


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


def _table(results: dict[str, ProbeResult]) -> str:
    lines = [f"{'features':<20} {'linear probe':>12}  {'95% interval':<15} {'nearest neighbours':>18}"]
    for name, result in results.items():
        low, high = result.ci
        interval = f"{low:.3f} to {high:.3f}"
        lines.append(f"{name:<20} {result.value:>12.3f}  {interval:<15} {result.knn['value']:>18.3f}")
    return "\n".join(lines)


def _what_next(out: Path) -> str:
    # The environment that `make demo` made is not active in the user's shell.
    atst = "atst" if shutil.which("atst") else os.path.relpath(Path(sys.executable).with_name("atst"))
    return f"""Minutes of training are too few to beat the baselines; docs/results.md shows what hours bring.

How the training went:      {out / "run" / "report.html"}
What the probe found:       {out / "trained" / "report.html"}

With files of your own:
  {atst} embed FOLDER --model {out / "run"} --out embeddings.parquet
  {atst} pretrain FOLDER --out runs/mine
  {atst} probe LABELS.csv --model runs/mine --out probes/mine
LABELS.csv has the columns path, label, and split (train, valid, test) or fold."""
