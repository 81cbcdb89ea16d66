"""A pre-training run: its folder, its start, its resumption, its end."""

import copy
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pytorch_lightning as lightning
import torch

from atst.cores import release_memory
from atst.corpus import Corpus
from atst.errors import ModelError, TrainingError, UsageError
from atst.model import folder as model_folder
from atst.model.audio_model import AudioModel, ModelConfig
from atst.model.whitening import CLIPS
from atst.output import atomic
from atst.output.atomic import write_text
from atst.output.skipped import PARTLY
from atst.output.text import writable
from atst.pretraining import data
from atst.pretraining.log import RunLog
from atst.pretraining.module import PretrainingModule
from atst.pretraining.recipe import Recipe
from atst.pretraining.report import REPORT, write_run_report
from atst.training import checkpoints, memory
from atst.training.augment import BANK_SIZE
from atst.training.launch import is_first_process
from atst.training.loader import Batches, BatchPositions, Lost
from atst.training.loop import fit
from atst.training.recipe import RECIPE
from atst.training.sharding import whole
from atst.training.side_stream import beside
from atst.training.start import conditions

Watch = Callable[[AudioModel], float]


@dataclass(frozen=True)
class Job:
    """What to run where. `watch` scores the model at every checkpoint, from 0 to 1."""

    recipe: Recipe
    corpus: Corpus
    folder: Path
    device: torch.device
    devices: int = 1
    watch: Watch | None = None

    @property
    def clips_per_step(self) -> int:
        """Clips of an optimiser step, of all devices."""
        return self.recipe.batch_size * self.recipe.accumulate * self.devices

    def conditions(self) -> dict[str, Any]:
        """What a bit-exact resumption needs to stay as it was, besides the recipe."""
        digest = hashlib.sha256(self.corpus.seconds.tobytes()).hexdigest()[:16]
        channel = getattr(self.corpus, "channel", None)
        corpus = f"{len(self.corpus)} clips ({digest})" + ("" if channel is None else f", channel {channel}")
        normalised_over = f"{self.recipe.batch_size * self.devices} clips"
        here = conditions(self.device, self.devices)
        here["sharded"] = self.recipe.sharded  # sums over devices are in another order
        return {"corpus": corpus, "micro-batch of all devices": normalised_over, **here}


@dataclass(frozen=True)
class Run:
    """What a finished or stopped run left: folder, steps done, whether it stopped early, counts of clips.

    Neither count includes files that were left out at the start.
    """

    folder: Path
    steps: int
    stopped: bool
    unreadable: int  # clips that were replaced by others
    partly: int = 0  # clips of recordings that were cut short


def train(job: Job, *, resume: bool = False, init: AudioModel | None = None) -> Run:
    """Run a job, or continue it from its newest checkpoint; logs and model are written to its folder.

    `init` gives the encoder's first weights. A first signal saves and ends the run early, another Ctrl-C
    is a `KeyboardInterrupt` at once. Raises `TrainingError` when the run cannot go on.
    """
    if resume and is_first_process() and Recipe.stored(job.folder) is not None:  # a run, not any other folder
        atomic.remove_leftovers(job.folder)
    checkpoint, done = None, 0
    if resume:
        checkpoint, state = checkpoints.to_resume(job.folder, job.conditions())
        done = state["step"]
        _check_clips_per_step(job, state)
    if checkpoint is not None and done >= job.recipe.max_steps:
        if is_first_process() and not _is_exported(job.folder, done):
            _export(job, model_at(checkpoint, job.devices))
        return Run(job.folder, done, False, 0)
    lightning.seed_everything(job.recipe.seed, verbose=False)
    module = PretrainingModule(job.recipe, job.devices)
    if is_first_process():
        checkpoints.prune(job.folder / "checkpoints", job.recipe.keep_checkpoints)
        checkpoints.check_disk(job.folder, module, job.recipe.keep_checkpoints)
    if checkpoint is None:
        if init is not None:
            module.pair.student["encoder"].load_state_dict(init.encoder.state_dict())
        else:
            _standardise(module, job.corpus)
        module.pair.copy_student()
    memory.keep()
    job.folder.mkdir(parents=True, exist_ok=True)
    if is_first_process():
        write_text(job.folder / RECIPE, job.recipe.dump())
    return _fit(job, module, checkpoint, done)


def _check_clips_per_step(job: Job, state: dict[str, Any]) -> None:
    """The place in the stream of clips, and the learning rate, are those of one number of clips a step."""
    before, stored = state.get("clips_per_step"), Recipe.stored(job.folder)
    if before is None and stored is not None:  # no checkpoint yet, or one of an earlier version
        before = stored.batch_size * stored.accumulate * job.devices
    if before not in (None, job.clips_per_step):
        recipe = job.recipe
        raise UsageError(
            f"--resume: the run takes {before} clips a step; batch_size={recipe.batch_size} x "
            f"accumulate={recipe.accumulate} x --devices {job.devices} are {job.clips_per_step}. "
            f"Change these three so that their product is {before}."
        )


def _fit(job: Job, module: PretrainingModule, checkpoint: Path | None, done: int) -> Run:
    recipe = job.recipe
    log = RunLog(job.folder, recipe, job.devices, done, writes=is_first_process())
    log.note(job.corpus.skipped + job.corpus.cut)

    model: AudioModel | None = None  # of the newest checkpoint

    def save(trainer: lightning.Trainer, module: PretrainingModule) -> None:
        nonlocal model
        log.flush()
        if trainer.is_global_zero:
            atomic.sync(job.folder / "metrics.csv")
            (job.folder / REPORT).unlink(missing_ok=True)  # it tells of the checkpoint before this one
        module.checkpoint_extra = {
            "step": trainer.global_step,
            "clips_per_step": job.clips_per_step,
            "conditions": job.conditions(),
        }
        checkpoints.write(trainer, job.folder / "checkpoints", recipe.keep_checkpoints)
        model = export(module, trainer.global_step, job.devices)
        if trainer.is_global_zero:
            _export(job, model)

    def measure(trainer: lightning.Trainer, module: PretrainingModule) -> None:
        if job.watch is not None and model is not None and trainer.is_global_zero:
            log.add_watch(job.watch(model.to(module.device)))
            write_run_report(job.folder, recipe, job.corpus, job.devices)

    saver = checkpoints.Checkpoints(save, recipe.checkpoint_steps, recipe.checkpoint_minutes, measure)
    dataset = data.PairDataset(job.corpus, recipe, logmel=job.device.type == "cpu")

    def batches(rank: int) -> Batches:
        start = BatchPositions(recipe.batch_size, done * recipe.accumulate, rank, job.devices)
        return data.loader(dataset, start, recipe.workers, saver.fail)

    try:
        steps = fit(
            module,
            batches,
            [_Banks(dataset, recipe, done, saver.fail), log, saver],
            job.device,
            job.devices,
            precision=recipe.precision,
            accumulate=recipe.accumulate,
            max_steps=recipe.max_steps,
            checkpoint=checkpoint,
            sharded=recipe.sharded,
        )
    finally:
        log.close()
    saver.raise_failure(steps)
    at_start = {writable(path) for path, _ in job.corpus.skipped + job.corpus.cut}
    reasons = [reason for clip, reason in log.listed.items() if clip not in at_start]
    partly = sum(reason.startswith(PARTLY) for reason in reasons)
    return Run(job.folder, steps, saver.stopped, len(reasons) - partly, partly)


class _Banks(lightning.Callback):
    """Fills the mixup banks of a resumed run by loading once more the clips that they held.

    Cheaper than keeping them: two banks of 6 s segments are 0.6 GB a checkpoint (`benchmarks/resume.py`).
    """

    def __init__(self, dataset: data.PairDataset, recipe: Recipe, done: int, lost: Lost) -> None:
        self.dataset, self.recipe, self.done, self.lost = dataset, recipe, done, lost

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        assert isinstance(pl_module, PretrainingModule)
        banks, batch = pl_module.views.banks, self.recipe.batch_size
        end = self.done * self.recipe.accumulate
        if banks is None or end == 0:
            return
        start = max(0, end - -(-BANK_SIZE // batch))
        for bank in banks:
            bank.seen = start * batch
        positions = BatchPositions(batch, start, trainer.global_rank, trainer.world_size)
        stream = data.loader(self.dataset, positions, self.recipe.workers, self.lost)
        for loaded in islice(stream, end - start):
            with beside(pl_module.device, loaded["views"]):
                sound = [view.to(pl_module.device) for view in loaded["views"]]
                pl_module.views.remember({"views": sound})


def _export(job: Job, model: AudioModel) -> None:
    """Write the model, and last the report: a run that has one was saved whole.

    What the statistics of a convolutional encoder have in common is measured once, at the end.
    """
    if model.config.training["steps"] >= job.recipe.max_steps:
        model = copy.deepcopy(model)  # the watched task scores it as those before
        _whiten(model, job.recipe, job.corpus)
    model.save(job.folder / "model")
    write_run_report(job.folder, job.recipe, job.corpus, job.devices)


def _is_exported(folder: Path, steps: int) -> bool:
    """Whether model and report of a checkpoint are there: a run can be killed after the checkpoint."""
    try:
        config, _ = model_folder.read(folder / "model")
    except ModelError:
        return False
    return config.training.get("steps") == steps and (folder / REPORT).is_file()


def export(module: PretrainingModule, step: int, devices: int = 1) -> AudioModel:
    """The teacher's encoder as a model, on the CPU. To be called in every process."""
    recipe = module.recipe
    clips = step * recipe.batch_size * recipe.accumulate * devices
    training = {"steps": step, "clips_seen": clips, "recipe": recipe.plain()}
    model = AudioModel(ModelConfig(recipe.size, recipe.segment_seconds, training, stem=recipe.stem))
    model.encoder.load_state_dict(whole(module.pair.teacher["encoder"].state_dict()))
    return model


def untrained(recipe: Recipe, corpus: Corpus) -> AudioModel:
    """What a run begins with, to compare its end with: the same first weights, standardised and whitened."""
    lightning.seed_everything(recipe.seed, verbose=False)
    module = PretrainingModule(recipe)
    _standardise(module, corpus)
    module.pair.copy_student()
    model = export(module, 0)
    _whiten(model, recipe, corpus)
    return model


def _standardise(module: PretrainingModule, corpus: Corpus) -> None:
    """A convolutional encoder's input by the mean and standard deviation of the corpus."""
    if module.recipe.stem == "conv":
        encoder: Any = module.pair.student["encoder"]
        encoder.standardise(*data.logmel_moments(corpus, module.recipe))


def _whiten(model: AudioModel, recipe: Recipe, corpus: Corpus) -> None:
    """Measure what a convolutional encoder's statistics of all clips have in common."""
    if recipe.stem == "conv":
        release_memory()  # of the steps before
        model.whiten(data.whole_clips(corpus, recipe, min(CLIPS, len(corpus))))


def model_at(checkpoint: Path, devices: int = 1) -> AudioModel:
    """The model as it was at a checkpoint of a run folder: for learning curves, and where it is missing."""
    recipe = Recipe.stored(checkpoint.parent.parent)
    if recipe is None:
        raise TrainingError(f"{checkpoint}: not in the checkpoints/ folder of a run.")
    module = PretrainingModule(recipe)
    module.load_state_dict(torch.load(checkpoint, map_location="cpu", weights_only=True)["state_dict"])
    return export(module, checkpoints.read_state(checkpoint)["step"], devices)
