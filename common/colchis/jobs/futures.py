"""What a caller holds while a job runs: futures as in the standard library."""

import pickle
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from typing import Any, Generic, TypeVar

from colchis.jobs.failures import JobLostError, JobRejectedError, exception_of
from colchis.wire.work import Failure

T = TypeVar("T")


class Cancellable(Future[T], Generic[T]):
    """A future that is done as soon as it is cancelled, also for those who wait for several.

    The standard library's needs a second step for that, which must be taken once only.
    """

    def __init__(self) -> None:
        super().__init__()
        self._told = False
        self._telling = threading.Lock()

    def cancel(self) -> bool:
        """True when nothing will be delivered; from any thread, any number of times."""
        cancelled = super().cancel()
        if cancelled and self._first():
            self.set_running_or_notify_cancel()
            self._cancelled()
        return cancelled

    def _first(self) -> bool:
        with self._telling:
            first, self._told = not self._told, True
        return first

    def _cancelled(self) -> None:
        """What follows from being cancelled."""


class JobFuture(Cancellable[T], Generic[T]):
    """The future of a job. Cancelling works while it runs, too: its tasks are ended."""

    def __init__(self, job: str, cancel_job: Callable[[str], None]) -> None:
        super().__init__()
        self.job = job
        """The job's id, as ``colchis job list`` shows it."""
        self._cancel_job = cancel_job

    def _cancelled(self) -> None:
        self._cancel_job(self.job)


class Collector(Generic[T]):
    """Puts a job's results together and settles its future with them.

    ``combine`` makes the value out of the results of the delivered stage, in task order.
    """

    def __init__(self, future: JobFuture[T], tasks: int, combine: Callable[[list[Any]], T]) -> None:
        self._future = future
        self._combine = combine
        self._values: list[Any] = [None] * tasks
        self._error: BaseException | None = None

    def accepted(self) -> None:
        """Nothing to be done about it."""

    def result(self, stage: int, index: int, data: bytes) -> None:
        """Keep one task's result."""
        try:
            self._values[index] = pickle.loads(data)  # noqa: S301 - from our own task's process
        except BaseException as error:
            # A class that cannot be loaded here must not end the connection's thread.
            self._error = error

    def broken(self, stage: int, index: int, failure: Failure) -> None:
        """Fail as a whole."""
        self._error = exception_of(failure)

    def ended(self, state: str, failure: Failure | None) -> None:
        """Settle the future."""
        # A future that was cancelled meanwhile stays so.
        with suppress(InvalidStateError):
            if self._error is not None:
                self._future.set_exception(self._error)
            elif state == "finished":
                try:
                    value = self._combine(self._values)
                except BaseException as error:
                    self._future.set_exception(error)
                else:
                    self._future.set_result(value)
            elif failure is not None:
                self._future.set_exception(exception_of(failure))
            else:
                self._future.cancel()

    def refused(self, reason: str, *, lost: bool) -> None:
        """Settle the future with the reason."""
        with suppress(InvalidStateError):
            self._future.set_exception((JobLostError if lost else JobRejectedError)(reason))


def first(values: list[Any]) -> Any:
    """The result of a job whose last stage has one task."""
    return values[0]


def flatten(values: list[Any]) -> list[Any]:
    """The records of all partitions, in order."""
    return [record for part in values for record in part]


class Ordered(Generic[T]):
    """One future per task, for callers that want results in order as they come."""

    def __init__(self, tasks: int) -> None:
        self.futures: list[Cancellable[T]] = [Cancellable() for _ in range(tasks)]

    def accepted(self) -> None:
        """Nothing to be done about it."""

    def result(self, stage: int, index: int, data: bytes) -> None:
        """Settle one future."""
        with suppress(InvalidStateError):
            try:
                value = pickle.loads(data)  # noqa: S301 - from our own task's process
            except BaseException as error:
                self.futures[index].set_exception(error)
            else:
                self.futures[index].set_result(value)

    def broken(self, stage: int, index: int, failure: Failure) -> None:
        """Settle one future."""
        with suppress(InvalidStateError):
            self.futures[index].set_exception(exception_of(failure))

    def ended(self, state: str, failure: Failure | None) -> None:
        """Settle those that have no result."""
        self._settle(None if failure is None else exception_of(failure))

    def refused(self, reason: str, *, lost: bool) -> None:
        """Settle those that have no result with the reason."""
        self._settle((JobLostError if lost else JobRejectedError)(reason))

    def _settle(self, error: BaseException | None) -> None:
        for future in self.futures:
            if future.done():
                continue
            # The caller may cancel it at any moment.
            with suppress(InvalidStateError):
                if error is not None:
                    future.set_exception(error)
                else:
                    future.cancel()

    def results(
        self, cancel: Callable[[], None], remaining: Callable[[], float | None]
    ) -> Iterator[T]:
        """Results in order; ``cancel`` is called when the caller stops before the last."""
        complete = False
        try:
            for future in self.futures:
                yield future.result(remaining())
            complete = True
        finally:
            if not complete:
                cancel()
