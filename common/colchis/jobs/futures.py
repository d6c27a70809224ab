"""What a caller holds while a job runs: futures as in the standard library."""

import pickle
from collections.abc import Callable, Iterator
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from typing import Any, Generic, TypeVar

from colchis.jobs.failures import JobLostError, JobRejectedError, exception_of
from colchis.wire.work import Failure

T = TypeVar("T")


class JobFuture(Future[T], Generic[T]):
    """The future of a job. Cancelling works while it runs, too: its tasks are ended."""

    def __init__(self, job: str, cancel_job: Callable[[str], None]) -> None:
        super().__init__()
        self.job = job
        """The job's id, as ``colchis job list`` shows it."""
        self._cancel_job = cancel_job

    def cancel(self) -> bool:
        """End the job unless it is over; True when nothing of it will be delivered."""
        cancelled = super().cancel()
        if cancelled:
            self.set_running_or_notify_cancel()
            self._cancel_job(self.job)
        return cancelled


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
                Future.cancel(self._future)
                self._future.set_running_or_notify_cancel()

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
        self.futures: list[Future[T]] = [Future() for _ in range(tasks)]

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
        for future in self.futures:
            if future.done():
                continue
            if failure is not None:
                future.set_exception(exception_of(failure))
            else:
                future.cancel()

    def refused(self, reason: str, *, lost: bool) -> None:
        """Settle those that have no result with the reason."""
        for future in self.futures:
            if not future.done():
                future.set_exception((JobLostError if lost else JobRejectedError)(reason))

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
