"""What a task's own code may use: suspension points beyond those its records give it.

A task that works through the records handed to it needs nothing from here. One that has no
records (``submit``) or makes its own may wrap any iterable in :func:`records`, or call
:func:`checkpoint` in a loop. Outside a slot both do nothing.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


class TaskCancelledError(BaseException):
    """Raised inside a task that is to end; not an Exception, so that only cleanup sees it."""


class _Nothing:
    """Stands in where there is no slot: the flag is never set."""

    def __getitem__(self, index: int) -> int:
        return 0


class SuspensionPoint:
    """The flag that says "yield", and what to do then. One per process; a slot fills it in."""

    __slots__ = ("flag", "pause")

    def __init__(self) -> None:
        self.flag: memoryview | _Nothing = _Nothing()
        self.pause: Callable[[], None] = lambda: None


point = SuspensionPoint()


def checkpoint() -> None:
    """Let the task be suspended here, if that is wanted; raises TaskCancelledError likewise."""
    if point.flag[0]:
        point.pause()


def records(items: Iterable[T]) -> Iterator[T]:
    """The same items; the task may be suspended after each of them."""
    flag, pause = point.flag, point.pause
    for item in items:
        yield item
        if flag[0]:
            pause()
