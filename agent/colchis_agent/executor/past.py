"""What an executor can tell a job service that was started anew: what it is at, and what is done.

The service keeps no record of attempts. So whoever works at one says of which task it is, and what
has come of it stays here until the task's job is over.
"""

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable

from colchis.wire import tasks as wire
from colchis.wire.work import EPOCH_SHIFT, Input
from colchis_agent.executor.core import Attempt
from colchis_agent.executor.lifecycle import Phase

MOST = 10_000
MOST_BYTES = 8 * 2**20
"""Results kept, and their bytes beside those in the store; beyond them the oldest are forgotten,
and their tasks run again if the service does not outlive their job."""
STATES = {
    Phase.WAITING: "running",
    Phase.RUNNING: "running",
    Phase.RESUMING: "running",
    Phase.SUSPENDING: "suspending",
    Phase.SUSPENDED: "suspended",
    Phase.FROZEN: "suspended",
    Phase.HELD: "suspended",
}
"""Phases of attempts that can go on, as the task scheduler calls them."""


class Past:
    """Tasks of attempts under way, and results of attempts that are over."""

    def __init__(self, most: int = MOST, most_bytes: int = MOST_BYTES) -> None:
        self._most = most
        self._most_bytes = most_bytes
        self._tasks: dict[int, str] = {}
        self._done: OrderedDict[int, wire.Done] = OrderedDict()
        self._bytes = 0

    def begin(self, attempt: int, task: str) -> None:
        """An attempt is accepted; without a task's name it is none to go on with."""
        if task:
            self._tasks[attempt] = task

    def end(self, attempt: int, results: list[Input] | None = None) -> None:
        """An attempt is over; its results are kept if it was at a task with a name."""
        task = self._tasks.pop(attempt, "")
        if not task or not results:
            return
        size = _size(results)
        if size > self._most_bytes:
            return
        self._done[attempt] = wire.Done(attempt, task, results)
        self._bytes += size
        while len(self._done) > self._most or self._bytes > self._most_bytes:
            self._forget(next(iter(self._done)))

    def settle(self, attempts: Iterable[int]) -> None:
        """The jobs of these are over."""
        for attempt in attempts:
            self._forget(attempt)

    def keep_only(self, epoch: int, kept: Collection[int]) -> None:
        """Forget what attempts of other epochs have come to, but for those kept."""
        self.settle([a for a in self._done if a >> EPOCH_SHIFT != epoch and a not in kept])

    def carried(
        self, attempts: Iterable[Attempt], memory: Callable[[int], int]
    ) -> list[wire.Carried]:
        """The attempts under way that can go on; ``memory`` is what one holds, in bytes."""
        return [
            wire.Carried(one.number, self._tasks[one.number], STATES[one.phase], memory(one.number))  # type: ignore[arg-type]  # one of three words
            for one in attempts
            if one.number in self._tasks and one.phase in STATES
        ]

    def done(self) -> list[wire.Done]:
        """What is kept of attempts that are over, oldest first."""
        return list(self._done.values())

    def _forget(self, attempt: int) -> None:
        done = self._done.pop(attempt, None)
        if done is not None:
            self._bytes -= _size(done.results)


def _size(results: list[Input]) -> int:
    return sum(len(one) if isinstance(one, bytes) else 100 for one in results)
