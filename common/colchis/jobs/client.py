"""The client of the job service: a ``concurrent.futures.Executor``, and jobs."""

import atexit
import hashlib
import itertools
import os
import pickle
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, wait
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

import cloudpickle

from colchis.errors import ColchisError
from colchis.jobs import functions as op
from colchis.jobs.bounds import partitions_of, priority_of, retries_of
from colchis.jobs.connection import Connection
from colchis.jobs.futures import Collector, JobFuture, Ordered, first
from colchis.jobs.graph import Job
from colchis.jobs.sockets import Sockets
from colchis.jobs.sources import Source
from colchis.jobs.streams import Stream
from colchis.wire.jobs import Query, StageSpec, Status, Submit, Told

if TYPE_CHECKING:
    from colchis.jobs.local import LocalCluster

T = TypeVar("T")
_open: "weakref.WeakSet[Client]" = weakref.WeakSet()


class Client(Executor):
    """Runs functions on the cluster's executors.

    ``submit`` and ``map`` do as in the standard library. What they run is suspended and resumed
    as the scheduler sees fit, and run again when an executor is lost.
    """

    def __init__(
        self,
        address: str,
        *,
        priority: str | int = "batch",
        retries: int = 0,
        timeout: float = 30.0,
        sockets: Sockets | None = None,
        on_close: Callable[[], None] | None = None,
    ) -> None:
        """Connect; raises ColchisError where nobody answers within ``timeout`` seconds, and
        ValueError for a priority or a number of retries that no job may have."""
        self.name = f"{os.uname().nodename[:32]}-{os.getpid()}-{os.urandom(4).hex()}"
        self.priority = priority_of(priority)
        self.retries = retries_of(retries)
        self._on_close = on_close
        self.local: LocalCluster | None = None
        """The processes behind it, where they are its own."""
        self._numbers = itertools.count(1)
        self._pending: set[Future[Any]] = set()
        self._shut = False
        self._cancelling = False
        self._process = os.getpid()
        self._connection = Connection(address, self.name, sockets)
        _open.add(self)
        with self._connection.greeted:
            answered = self._connection.greeted.wait_for(
                lambda: self._connection.greeting is not None, timeout
            )
        if not answered:
            self.close()
            raise ColchisError(f"no job service answers at {address}")

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> JobFuture[T]:
        """Run ``fn(*args, **kwargs)`` in a slot; see ``concurrent.futures``."""
        digest, function = self.pickle_function(fn)
        stage = StageSpec(
            name="s0",
            kind="call",
            function=digest,
            tasks=1,
            payloads=[self.pickle((args, kwargs))],
        )
        name = getattr(fn, "__name__", type(fn).__name__)
        return self._submit(name, self.priority, self.retries, [stage], {digest: function}, first)

    def map(
        self,
        fn: Callable[..., T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
    ) -> Iterator[T]:
        """As ``concurrent.futures``: results in order; one task per ``chunksize`` items."""
        if chunksize < 1:
            raise ValueError("chunksize must be at least 1")
        self._check_open()
        end = None if timeout is None else time.monotonic() + timeout
        items = list(zip(*iterables, strict=False))
        chunks = [items[i : i + chunksize] for i in range(0, len(items), chunksize)]
        if not chunks:
            return iter(())
        digest, function = self.pickle_function(op.StarMap(fn))
        stage = StageSpec(
            name="s0",
            kind="records",
            function=digest,
            tasks=partitions_of(len(chunks)),
            payloads=[self.pickle(chunk) for chunk in chunks],
        )
        ordered: Ordered[list[T]] = Ordered(len(chunks))
        name = getattr(fn, "__name__", "map")
        job = self._spec(name, self.priority, self.retries, [stage], independent=True)
        for future in ordered.futures:
            self._note(future)
        try:
            self._connection.submit(job, {digest: function}, ordered)
        except BaseException:
            for future in ordered.futures:
                self._settled(future)
            raise

        def remaining() -> float | None:
            return None if end is None else max(0.0, end - time.monotonic())

        results = ordered.results(lambda: self._connection.cancel(job.job), remaining)
        return itertools.chain.from_iterable(results)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """As ``concurrent.futures``; then the connection is closed."""
        self._shut = True
        if cancel_futures:
            self._cancel_all()
        if wait:
            self._close_when_done()
        else:
            threading.Thread(target=self._close_when_done, daemon=True).start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # Whoever leaves by Ctrl-C (or sys.exit) does not want to wait for what runs.
        gone = kind is not None and not issubclass(kind, Exception)
        self.shutdown(wait=True, cancel_futures=gone)

    def job(self, name: str = "job", *, priority: str | int | None = None, retries: int = 3) -> Job:
        """A job of stages; a task of it is tried again up to ``retries`` times (100 at most).

        Raises ValueError for what no job may have.
        """
        chosen = self.priority if priority is None else priority_of(priority)
        return Job(self, name, chosen, retries)

    def stream(
        self,
        source: Source,
        name: str = "stream",
        *,
        priority: str | int = "stream",
        retries: int = 3,
    ) -> Stream:
        """A stream of micro-batches; begins with :meth:`Stream.every`."""
        return Stream(self, source, self.job(name, priority=priority, retries=retries))

    def run(
        self,
        job: Job,
        stages: list[StageSpec],
        functions: dict[str, bytes],
        combine: Callable[[list[Any]], Any],
    ) -> JobFuture[Any]:
        """Submit a job's stages; the last one is delivered."""
        return self._submit(job.name, job.priority, job.retries, stages, functions, combine)

    def slots(self) -> int:
        """Cores of all executors, at least 1."""
        greeting = self._connection.greeting
        return max(1, greeting.slots if greeting is not None else 1)

    def executors(self) -> int:
        """Executors that the service knows, asked anew."""
        greeting = self._connection.greeting
        self._connection.hello()
        with self._connection.greeted:
            self._connection.greeted.wait_for(
                lambda: self._connection.greeting is not greeting, 5.0
            )
        found = self._connection.greeting
        return found.executors if found is not None else 0

    def status(self, job: str = "", timeout: float = 30.0) -> Status:
        """How jobs and executors stand; with the tasks of one job where it is named."""
        return self._ask(Query(next(self._numbers), job), timeout)

    def story(self, task: str, timeout: float = 30.0) -> list[str]:
        """What was decided about a task (``JOB/STAGE/INDEX``) and why, oldest first."""
        told = self._ask(Query(next(self._numbers), "-", task), timeout).story
        return [f"{one.what}: {one.reason}" for one in told]

    def history(self, timeout: float = 30.0) -> list[Told]:
        """The latest decisions about all tasks, whoever submitted them, oldest first."""
        return self._ask(Query(next(self._numbers), "-", history=True), timeout).story

    def cancel(self, job: str) -> None:
        """End a job, whoever submitted it, and everything of it that runs."""
        self._connection.cancel_any(job)

    def close(self) -> None:
        """Cancel what still runs and disconnect. Nothing happens the second time.

        Nor in a forked child: what it has inherited is its parent's. All futures are settled and
        their callbacks called before this returns, unless one of them calls it. A signal's handler
        may call it, also in the middle of a submission, but waits for ever where the code that it
        has interrupted holds a lock that those callbacks, or the futures themselves, want;
        ``result()`` and ``wait()`` hold a future's own for microseconds. To raise in the handler
        and close outside is always safe.
        """
        self._shut = True
        _open.discard(self)
        if os.getpid() != self._process:
            return
        self._connection.close()
        on_close, self._on_close = self._on_close, None
        if on_close is not None:
            on_close()

    def pickle(self, value: Any) -> bytes:
        """Pickle; by value what is defined in the user's script."""
        try:
            data = pickle.dumps(value, protocol=5)
            if b"__main__" not in data:
                return data
        except (pickle.PicklingError, AttributeError, TypeError):
            pass
        return bytes(cloudpickle.dumps(value, protocol=5))

    def pickle_function(self, function: Any) -> tuple[str, bytes]:
        """The function's bytes, and the digest under which it is sent once."""
        data = self.pickle(function)
        return hashlib.blake2b(data, digest_size=16).hexdigest(), data

    def _submit(
        self,
        name: str,
        priority: int,
        retries: int,
        stages: list[StageSpec],
        functions: dict[str, bytes],
        combine: Callable[[list[Any]], T],
    ) -> JobFuture[T]:
        self._check_open()
        job = self._spec(name, priority, retries, stages)
        future: JobFuture[T] = JobFuture(job.job, self._connection.cancel)
        collector = Collector(future, stages[-1].tasks, combine)
        self._note(future)
        try:
            self._connection.submit(job, functions, collector)
        except BaseException:
            self._settled(future)
            raise
        return future

    def _spec(
        self,
        name: str,
        priority: int,
        retries: int,
        stages: list[StageSpec],
        *,
        independent: bool = False,
    ) -> Submit:
        number = next(self._numbers)
        job = f"{self.name}-{number}"
        last = [len(stages) - 1]
        return Submit(job, name, priority, stages, last, retries, independent=independent)

    def _ask(self, query: Query, timeout: float) -> Status:
        self._check_open()
        answer = self._connection.query(query)
        try:
            return answer.result(timeout)
        finally:
            if not answer.done():
                self._connection.give_up(query)

    def _note(self, future: Future[Any]) -> None:
        self._pending.add(future)
        future.add_done_callback(self._settled)
        if self._cancelling:
            # Another thread, a stream's, was about to submit it when everything was cancelled.
            future.cancel()

    def _settled(self, future: Future[Any]) -> None:
        self._pending.discard(future)

    def _cancel_all(self) -> None:
        self._cancelling = True
        for future in self._pending.copy():
            future.cancel()

    def _wait_all(self) -> None:
        wait(self._pending.copy())

    def _close_when_done(self) -> None:
        self._wait_all()
        self.close()

    def _check_open(self) -> None:
        if self._shut:
            raise RuntimeError("cannot schedule new futures after shutdown")


@atexit.register
def _close_all() -> None:
    """A script that just ends leaves nothing running."""
    for client in list(_open):
        if not sys.is_finalizing():
            client.close()
