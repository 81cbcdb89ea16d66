"""The report of a run: its progress, whether it learns, its data, and examples of its views."""

import math
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import yaml
from numpy.typing import NDArray
from pyarrow import csv as arrow_csv

from atst.corpus import Corpus
from atst.model.encoder import HEAD_OUTPUT
from atst.output.html import Alert, Headline, Part, Plot, Section, Table, write_report
from atst.output.skipped import PARTLY, Skipped, read_errors
from atst.pretraining import figures
from atst.pretraining.figures import Columns
from atst.pretraining.health import UNIFORM_STD, WINDOW, Health
from atst.pretraining.log import COLUMNS
from atst.pretraining.recipe import Recipe
from atst.training.augment import MIXUP_RATIO

REPORT = "report.html"
ERRORS_SHOWN = 20
FEW_DIFFER = 0.5
LEARNING = (
    f"Pale: each step; dark: running mean. Dashed: the output std of {HEAD_OUTPUT}-dimensional outputs that "
    "point evenly in all directions. A loss near 0 with output std and rank near their floor means collapse."
)
SCHEDULES = "What the optimiser and the teacher were given at each step, and how fast the steps went."
MIXUP = f"mixup (one of the clips before is added, at most {MIXUP_RATIO:.0%} of the sum)"
CROP = "random resize crop (even areas are outside the segment)"
VIEWS = (
    "Each row: two segments of a clip and what becomes of them by {}. 64 mel bands, 60 Hz at the bottom; one "
    "colour scale. The student has to predict from one view what the teacher makes of the other."
)


def write_run_report(folder: Path, recipe: Recipe, corpus: Corpus, devices: int = 1) -> None:
    """Write `report.html` of a run folder from its `metrics.csv` and `errors.csv`; takes a second or two."""
    columns = _read_metrics(folder / "metrics.csv")
    errors = read_errors(folder)
    clips_per_step = recipe.batch_size * recipe.accumulate * devices
    sections = [
        Section("", [_headline(columns, recipe, corpus, clips_per_step), *_health(columns, recipe)]),
        Section("Is it learning?", [Plot(figures.learning(columns), LEARNING)]),
        Section("Data", [_fed(columns, corpus, errors), *_error_list(errors)]),
        Section("Two views of some clips", [_views(recipe, corpus)]),
        Section("Schedules and speed", [Plot(figures.schedules(columns), SCHEDULES)]),
        Section("Recipe", [_recipe_table(recipe)]),
    ]
    write_report(folder / REPORT, f"Pre-training run {folder.absolute().name}", sections)


def _read_metrics(path: Path) -> Columns:
    """Every column of `metrics.csv`, NaN where a cell is empty; no rows when there is no file yet."""
    if not path.exists() or path.stat().st_size == 0:
        return {name: np.zeros(0) for name in COLUMNS}
    table = arrow_csv.read_csv(
        path,
        read_options=arrow_csv.ReadOptions(use_threads=False),
        convert_options=arrow_csv.ConvertOptions(column_types={name: pa.float64() for name in COLUMNS}),
    )
    missing = np.full(len(table), np.nan)  # in runs that an earlier version started
    return {
        name: table[name].to_numpy(zero_copy_only=False) if name in table.column_names else missing
        for name in COLUMNS
    }


def _headline(columns: Columns, recipe: Recipe, corpus: Corpus, clips_per_step: int) -> Headline:
    steps = len(columns["step"])
    clips = steps * clips_per_step
    speed = columns["clips_per_second"]
    seconds = float(np.nansum(clips_per_step / speed))
    rate = f" ({clips / seconds:.0f} clips a second)" if seconds > 0 else ""
    return Headline(
        f"{steps:,} of {recipe.max_steps:,} steps",
        f"{clips:,} clips seen: {clips / len(corpus):.1f} passes over the {len(corpus):,} clips "
        f"({corpus.seconds.sum() / 3600:.2f} h) of the corpus, in {_duration(seconds)}{rate}. "
        f"Encoder {recipe.size}, segments of {recipe.segments} s.",
    )


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 7200 else f"{seconds / 3600:.1f} hours"


def _health(columns: Columns, recipe: Recipe) -> list[Part]:
    """Sentences on collapse, earlier or now, and on pairs that are too alike."""
    parts: list[Part] = []
    stds, ranks = columns["output_std_student"], columns["rank_student"]
    warning = _first_warning(stds, ranks)
    if warning is not None:
        step, text = warning
        since = ""
        if _first_warning(stds[-2 * WINDOW :], ranks[-2 * WINDOW :]) is None:
            since = f" The last {2 * WINDOW} steps show no collapse."
        parts.append(Alert(f"Step {columns['step'][step]:.0f}: {text}{since}"))
    elif len(stds) >= WINDOW:
        measured = ranks[~np.isnan(ranks)]
        rank = f", effective rank {measured[-1]:.0f} of {HEAD_OUTPUT}" if len(measured) else ""
        parts.append(
            f"No sign of collapse: output std {stds[-WINDOW:].mean():.3f} "
            f"({UNIFORM_STD:.4f} when uniform){rank}."
        )
    else:
        parts.append(f"Too early to tell whether it learns: that takes {WINDOW} steps.")
    differing = _mean(columns["differing"])
    if differing < FEW_DIFFER and not recipe.same_segment:
        parts.append(
            Alert(
                f"Only {differing:.0%} of the pairs have two different segments: most clips are not longer "
                "than segment_seconds. Lower segment_seconds or raise min_seconds."
            )
        )
    return parts


def _first_warning(stds: NDArray[np.float64], ranks: NDArray[np.float64]) -> tuple[int, str] | None:
    """Row of the first warning that the run's log would give, and the warning."""
    health = Health()
    for row, (std, rank) in enumerate(zip(stds.tolist(), ranks.tolist(), strict=True)):
        text = health.update(std, None if math.isnan(rank) else rank)
        if text is not None:
            return row, text
    return None


def _fed(columns: Columns, corpus: Corpus, errors: list[Skipped]) -> Table:
    at_start = {name for name, _ in corpus.skipped + corpus.cut}
    later = [reason for clip, reason in errors if clip not in at_start]
    partly = sum(reason.startswith(PARTLY) for reason in later)
    median, longest = np.median(corpus.seconds), corpus.seconds.max()
    return Table(
        ["", ""],
        [
            [
                "clips",
                f"{len(corpus):,}, half of them of {median:.1f} s and more, the longest {longest:.1f} s",
            ],
            ["padding", f"{_mean(columns['padding']):.1%} of what the encoder saw"],
            ["pairs whose segments differ", f"{_mean(columns['differing']):.1%}"],
            [
                "files left out at the start",
                f"{len(corpus.skipped):,} (shorter than min_seconds, or unreadable)",
            ],
            ["stretches cut at the end of their recording", f"{len(corpus.cut):,}"],
            ["unreadable clips replaced", f"{len(later) - partly:,}"],
            ["clips of recordings that were cut short", f"{partly:,}"],
        ],
    )


def _error_list(errors: list[Skipped]) -> list[Part]:
    if not errors:
        return []
    more = f"The first {ERRORS_SHOWN}; errors.csv has all." if len(errors) > ERRORS_SHOWN else ""
    rows = [list(error) for error in errors[:ERRORS_SHOWN]]
    return [part for part in (more, Table(["clip", "reason"], rows)) if part]


def _mean(values: NDArray[np.float64]) -> float:
    return float(values.mean()) if len(values) else math.nan


def _recipe_table(recipe: Recipe) -> Table:
    lines = yaml.safe_dump(recipe.plain(), sort_keys=False, default_flow_style=None)
    return Table(["", ""], [line.split(": ", 1) for line in lines.splitlines()])


@lru_cache(maxsize=1)  # the same at every save of a run, and slow to draw
def _views(recipe: Recipe, corpus: Corpus) -> Plot:
    changes = [text for text, on in ((MIXUP, recipe.mixup), (CROP, recipe.resize_crop)) if on]
    caption = VIEWS.format(" and ".join(changes) or "nothing (mixup and resize crop are off)")
    return Plot(figures.views(recipe, corpus), caption)
