"""What a caller gets to see when a task fails."""

import pickle

from colchis.errors import ColchisError
from colchis.wire.work import Failure


class TaskFailedError(ColchisError):
    """A task failed without an exception that could be brought over: its process died, mostly.

    ``failure`` has what is known: message, node, executor, the last lines it wrote.
    """

    def __init__(self, failure: Failure) -> None:
        self.failure = failure
        super().__init__("\n".join([failure.message, *_details(failure)]))


class JobRejectedError(ColchisError):
    """The job service did not take the job; the message says why."""


class JobLostError(ColchisError):
    """The job service does not know the job any more."""


class RemoteTraceback(Exception):  # noqa: N818 - named as in concurrent.futures, whose users know it
    """Carries a traceback from a slot process as the cause of the exception raised here."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f'\n"""\n{self.text}"""'


def exception_of(failure: Failure) -> BaseException:
    """The task's own exception where it came over, with where it happened as a note."""
    if failure.exception:
        try:
            error = pickle.loads(failure.exception)  # noqa: S301 - from our own task's process
        except Exception:
            return TaskFailedError(failure)
        if isinstance(error, BaseException):
            error.__cause__ = RemoteTraceback(failure.traceback)
            for line in _details(failure):
                error.add_note(line)
            return error
    return TaskFailedError(failure)


def _details(failure: Failure) -> list[str]:
    lines = []
    if failure.executor:
        lines.append(f"on executor {failure.executor}, node {failure.node}")
    if failure.log:
        lines += ["the last lines it wrote:", *(f"  {line}" for line in failure.log)]
    return lines
