"""Recordings embedded by the workers of a Ray cluster, a model on each, and given back in their order.

Ray does the task of a worker that has died, some files, once more; what a task gives counts once.
"""

import functools
import importlib
import logging
import os
import pickle
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from atst.errors import AtstError, ModelError, UsageError
from atst.library.rows import Rows
from atst.model.embedder import Embedder
from atst.output import progress
from atst.sound.amount import Amount
from atst.sound.find import Recording
from atst.sound.pool import Pool
from atst.sound.windows import Reading

TASK_FILES = 64  # at most: a worker that dies has so many to do again


@dataclass(frozen=True)
class Work:
    """What a worker needs, once; to be pickled."""

    load: Callable[[], Embedder]
    embed: Callable[[Pool, list[Embedder], Sequence[Recording], list[Reading]], Iterator[Rows]]
    fingerprint: str  # of the model that the output names


class Worker:
    """Embeds the files of a task."""

    def __init__(self, work: Work, folder: Path, decoders: int) -> None:
        with suppress(OSError):  # where it is missing absolute paths and addresses can still be read
            os.chdir(folder)
        self.work, self.pool = work, Pool(decoders)

    @functools.cached_property  # not in the constructor, of whose errors Ray gives nothing but a trace
    def encoder(self) -> Embedder:
        encoder = self.work.load()
        if encoder.fingerprint != self.work.fingerprint:
            raise ModelError(f"{encoder.name}: not the same model on {os.uname().nodename} as here.")
        return encoder

    def __call__(self, batch: dict[str, Any]) -> Iterator[dict[str, list[bytes]]]:
        """A message a window: which recordings have ended, what became of them, and rows of the last."""
        first, recordings = pickle.loads(batch["task"][0])
        readings: list[Reading] = []
        told = 0
        with progress.quiet():
            for rows in self.work.embed(self.pool, [self.encoder], recordings, readings):
                ended = max(told, readings.index(rows.reading) + 1)
                yield _message(first + told, readings[told:ended], rows.starts, rows.ends, rows.vectors)
                told = ended
        yield _message(first + told, readings[told:])


class Workers:
    """The workers of a cluster; see `workers`."""

    def __init__(self, data: Any, resources: dict[str, float], count: int | None, device: str) -> None:
        self.data = data
        cores, gpus = (int(resources.get(kind, 0)) for kind in ("CPU", "GPU"))
        self.on_gpus = device != "cpu" and gpus > 0
        there = gpus if self.on_gpus else cores
        if count is not None and count > there:
            kind = "GPUs" if self.on_gpus else "cores"
            raise UsageError(f"--devices {count}: the cluster has {there} {kind}.")
        self.count, self.decoders = count or there, max(1, cores // max(1, there))

    def rows(self, work: Work, recordings: Sequence[Recording], readings: list[Reading]) -> Iterator[Rows]:
        """The rows of all recordings in order; `readings` gets an entry for each, as by `read_all`."""
        size = max(1, min(TASK_FILES, len(recordings) // (4 * self.count)))  # so that all end nearly together
        starts = range(0, len(recordings), size)
        tasks = [pickle.dumps((first, recordings[first : first + size])) for first in starts]
        amount = Amount(recordings, readings)
        for at, became, rows in progress.watch(self._messages(work, tasks), "embedding", amount):
            if at != len(readings):
                raise AtstError(f"--engine ray: recording {at:,} came where {len(readings):,} was expected.")
            readings += [replace(one, recording=recordings[at + i]) for i, one in enumerate(became)]
            if rows:
                yield Rows(readings[-1], *rows)
        if len(readings) != len(recordings):
            raise AtstError(f"--engine ray: {len(readings):,} of {len(recordings):,} recordings came back.")

    def _messages(self, work: Work, tasks: list[bytes]) -> Iterator[Any]:
        if not tasks:
            return
        context = self.data.DataContext.get_current()
        context.enable_progress_bars, context.execution_options.preserve_order = False, True
        items = self.data.from_items([{"task": task} for task in tasks], override_num_blocks=len(tasks))
        messages = items.map_batches(
            Worker,
            fn_constructor_args=(work, Path.cwd(), self.decoders),
            batch_size=1,
            compute=self.data.ActorPoolStrategy(size=min(self.count, len(tasks))),
            num_cpus=1,
            num_gpus=int(self.on_gpus),
        )
        for row in messages.iter_rows():
            yield pickle.loads(row["message"])


@contextmanager
def workers(count: int | None, device: str) -> Iterator[Workers]:
    """`count` workers of the cluster that RAY_ADDRESS or Ray's own files name, else of one started here.

    By default one for each GPU, or each core where there is none or `device` is `cpu`. Raises `UsageError`
    without Ray and for more workers than GPUs or cores, `AtstError` where Ray fails.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # a cluster that is started here reports to nobody
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    try:
        ray, data = importlib.import_module("ray"), importlib.import_module("ray.data")
    except ImportError:
        raise UsageError('--engine ray needs another package: pip install "atst-audio[ray]".') from None
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    mine = not ray.is_initialized()
    if mine:
        _start(ray)
    try:
        yield Workers(data, ray.cluster_resources(), count, device)
    except ray.exceptions.RayError as error:
        raised = getattr(error, "cause", None)  # by a worker; after its first line Ray adds its advice
        why = str(error) if raised is None else str(raised).partition("\n")[0]
        raise AtstError(f"--engine ray: {' '.join(why.split())}") from error
    finally:
        if mine:
            ray.shutdown()


def _start(ray: Any) -> None:
    try:
        ray.init(log_to_driver=False, logging_level="ERROR", include_dashboard=False)
    except Exception as error:  # it raises Exception itself where a start takes too long
        raise AtstError(f"--engine ray: {' '.join(str(error).split())}") from error


def _message(at: int, readings: Sequence[Reading], *rows: Any) -> dict[str, list[bytes]]:
    became = [replace(reading, recording=cast(Any, None)) for reading in readings]  # the driver has them
    return {"message": [pickle.dumps((at, became, rows))]}
