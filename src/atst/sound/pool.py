"""Many files decoded by several processes, given in order."""

import queue
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress

from atst.cores import cores
from atst.errors import AudioError
from atst.sound.isolated import Decoder
from atst.sound.messages import Reply, Request

MOST = 8  # decoding processes of a pool: more than any encoder keeps up with
AHEAD = 8  # files handed out at a time for each process of a pool
TOGETHER = 4  # of them that a process is told at once if they are small
WINDOWS_AHEAD = 2  # of each of those files


class Pool:
    """Decoding processes for many files."""

    def __init__(self, most: int | None = None) -> None:
        count = min(MOST, cores())
        self.decoders = [Decoder() for _ in range(max(1, min(count, most or count)))]
        self.todo: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self.jobs: deque[_Job] = deque()
        self.closed = False
        self.threads = [
            threading.Thread(target=self._work, args=[decoder], daemon=True) for decoder in self.decoders
        ]
        for thread in self.threads:
            thread.start()

    def each(self, requests: Iterable[Request]) -> Iterator[tuple[Request, Iterator[Reply]]]:
        """Every request with its replies, in order; taking these raises what `Decoder.ask` does."""
        requests = iter(requests)
        while True:
            while len(self.jobs) < AHEAD * len(self.decoders):
                if (request := next(requests, None)) is None:
                    break
                self.jobs.append(_Job(request))
                self.todo.put(self.jobs[-1])
            if not self.jobs:
                return
            replies = self.jobs[0].replies()
            yield self.jobs[0].request, replies
            with suppress(AudioError):
                deque(replies, maxlen=0)
            self.jobs.popleft()

    def close(self) -> None:
        """End all processes, whatever they do."""
        self.closed = True
        for job in self.jobs:
            job.room.release()
        for decoder in self.decoders:
            decoder.closed = True
            self.todo.put(None)
        for thread, decoder in zip(self.threads, self.decoders, strict=True):
            decoder.stop()
            while thread.is_alive() and not decoder.fetching:  # a silent server is not waited for
                thread.join(0.1)
                decoder.stop()

    def __enter__(self) -> "Pool":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _work(self, decoder: Decoder) -> None:
        while jobs := self._next():
            for number, job in enumerate(jobs):
                following = [later.request for later in jobs[number + 1 :]]
                try:
                    for reply in decoder.ask(job.request, following):
                        job.room.acquire()
                        if self.closed:
                            return
                        job.done.put(reply)
                    job.done.put(None)
                except BaseException as error:
                    job.done.put(error)

    def _next(self) -> list["_Job"]:
        """The next job, with some behind small ones; none at the end."""
        if (job := self.todo.get()) is None:
            return []
        jobs = [job]
        with suppress(queue.Empty):
            while len(jobs) < TOGETHER and jobs[-1].request.is_small:
                if (job := self.todo.get_nowait()) is None:
                    self.todo.put(None)
                    break
                jobs.append(job)
        return jobs


class _Job:
    """A request, and its replies as they come."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.done: queue.SimpleQueue[Reply | BaseException | None] = queue.SimpleQueue()
        self.room = threading.Semaphore(WINDOWS_AHEAD)

    def replies(self) -> Iterator[Reply]:
        while (reply := self.done.get()) is not None:
            if isinstance(reply, BaseException):
                raise reply
            self.room.release()
            yield reply
