"""Streams as micro-batches: every so often what has come is a small, urgent job.

A stream's stages are written as those of a job. Functions are pickled anew for every batch, so
one that holds a model takes the model of that moment.
"""

import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from colchis.jobs.graph import Job, Stage
from colchis.jobs.sources import Source

if TYPE_CHECKING:
    from colchis.jobs.client import Client

Step = Callable[[Stage], Stage]


@dataclass(frozen=True, slots=True)
class Batch:
    """One micro-batch that has been worked through.

    ``due`` and ``finished`` are monotonic seconds; ``records`` what came in, ``result`` what the
    stages made of it.
    """

    number: int
    records: int
    result: Any
    due: float
    finished: float

    @property
    def latency(self) -> float:
        """Seconds from the moment the batch was cut to its result."""
        return self.finished - self.due


@dataclass(frozen=True, slots=True)
class Flight:
    """A batch on its way; ``ended`` gets the time of its end."""

    number: int
    records: int
    due: float
    future: "Future[Any]"
    ended: list[float]


class Stream:
    """Stages to be applied to each micro-batch of a source."""

    def __init__(
        self, client: "Client", source: Source, job: Job, steps: tuple[Step, ...] = ()
    ) -> None:
        self._client = client
        self._source = source
        self._job = job
        self._steps = steps

    def _then(self, step: Step) -> "Stream":
        return Stream(self._client, self._source, self._job, (*self._steps, step))

    def map(self, function: Callable[[Any], Any]) -> "Stream":
        """See :meth:`Stage.map`."""
        return self._then(lambda stage: stage.map(function))

    def flat_map(self, function: Callable[[Any], Iterable[Any]]) -> "Stream":
        """See :meth:`Stage.flat_map`."""
        return self._then(lambda stage: stage.flat_map(function))

    def filter(self, function: Callable[[Any], object]) -> "Stream":
        """See :meth:`Stage.filter`."""
        return self._then(lambda stage: stage.filter(function))

    def shuffle(self, key: Callable[[Any], Any], *, partitions: int | None = None) -> "Stream":
        """See :meth:`Stage.shuffle`; within a batch."""
        return self._then(lambda stage: stage.shuffle(key, partitions=partitions))

    def reduce(self, function: Callable[[Any, Any], Any], *initial: Any) -> "Stream":
        """See :meth:`Stage.reduce`; within a batch."""
        return self._then(lambda stage: stage.reduce(function, *initial))

    def every(
        self, seconds: float, *, partitions: int | None = None, ahead: int = 4
    ) -> "RunningStream":
        """Begin: a batch every so many seconds, in so many partitions (default: one per slot).

        At most ``ahead`` batches are on their way at once; what comes meanwhile waits for the
        next. Nothing is submitted for a batch without records.
        """
        if seconds <= 0 or ahead < 1:
            raise ValueError("seconds must be more than 0, ahead at least 1")
        return RunningStream(
            self._client, self._source, self._job, self._steps, seconds, partitions, ahead
        )


class RunningStream:
    """A stream at work; iterate over it for its batches, in order. Close it, or use ``with``."""

    def __init__(
        self,
        client: "Client",
        source: Source,
        job: Job,
        steps: tuple[Step, ...],
        seconds: float,
        partitions: int | None,
        ahead: int,
    ) -> None:
        self._client = client
        self._source = source
        self._job = job
        self._steps = steps
        self._seconds = seconds
        self._partitions = partitions
        self._room = threading.Semaphore(ahead)
        self._stop = threading.Event()
        self._batches: queue.SimpleQueue[Flight | None]
        self._batches = queue.SimpleQueue()
        self._error: BaseException | None = None
        source.open()
        self._thread = threading.Thread(target=self._run, name="colchis-stream", daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[Batch]:
        """Batches in order, as they finish; ends with the source, or when closed.

        Raises what a batch's task raised, and what the source raised.
        """
        while True:
            item = self._batches.get()
            if item is None:
                self._batches.put(None)
                if self._error is not None:
                    raise self._error
                return
            result = item.future.result()
            # The callback may come a moment after the result.
            finished = item.ended[0] if item.ended else time.monotonic()
            yield Batch(item.number, item.records, result, item.due, finished)

    def __enter__(self) -> "RunningStream":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End: no further batches; those on their way are cancelled."""
        self._stop.set()
        self._room.release()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _run(self) -> None:
        flying: list[Future[Any]] = []
        try:
            number, due = 0, time.monotonic()
            while not self._stop.is_set():
                due += self._seconds
                exhausted = self._source.exhausted
                if not exhausted and self._stop.wait(max(0.0, due - time.monotonic())):
                    break
                records = self._source.take()
                if records:
                    self._room.acquire()
                    if self._stop.is_set():
                        break
                    flying = [future for future in flying if not future.done()]
                    flying.append(self._begin(number, records, time.monotonic()))
                    number += 1
                elif exhausted:
                    break
                due = max(due, time.monotonic() - self._seconds)
        except BaseException as error:
            # Whoever iterates is told; nobody else would hear of it.
            self._error = error
        finally:
            if self._stop.is_set():
                for future in flying:
                    future.cancel()
            self._source.close()
            self._batches.put(None)

    def _begin(self, number: int, records: list[Any], due: float) -> "Future[Any]":
        partitions = self._client.slots() if self._partitions is None else self._partitions
        ended: list[float] = []
        stage = self._job.records(records, partitions=partitions)
        for step in self._steps:
            stage = step(stage)
        future = stage.submit()

        def note(_: "Future[Any]") -> None:
            ended.append(time.monotonic())
            self._room.release()

        future.add_done_callback(note)
        self._batches.put(Flight(number, len(records), due, future, ended))
        return future
