"""Lots: attempts at several short tasks at once, as the supervisor sees them.

A slot works through a lot without being told of each task, so that messages and decisions are paid
for once. It must not keep what others could do, though: when a lot is suspended, or takes much
longer than it should, the tasks that have not begun are given back.
"""

import time
from collections.abc import Callable

from msgspec import Struct

from colchis.wire import tasks as wire
from colchis.wire.work import Input, Stored
from colchis_agent.executor import channel
from colchis_agent.executor.board import NO_LIMIT
from colchis_agent.executor.pool import Handle

LOOK = 0.002
"""Seconds between looks at what the slots have put aside."""
OVERDUE = 0.05
"""Seconds after which the rest of a lot is given back; lots are made for much less."""


class Lot(Struct):
    """A lot in a slot: ``size`` tasks of which ``done`` are known to be done."""

    attempt: int
    handle: Handle
    size: int
    overdue: float
    done: int = 0


class Lots:
    """The lots of one executor.

    ``send`` takes reports to the job service, ``kill`` ends a process that puts nonsense aside.
    """

    def __init__(
        self,
        send: Callable[[wire.FromExecutor], None],
        kill: Callable[[Handle], None],
        address: str,
    ) -> None:
        self._send = send
        self._kill = kill
        self._address = address
        self._lots: dict[int, Lot] = {}
        self.due: float | None = None
        """When :meth:`look` is wanted next."""

    def begin(self, attempt: int, handle: Handle, size: int) -> None:
        """A process is about to be sent an attempt of that many tasks."""
        if size > 1:
            handle.line.limit = NO_LIMIT
            now = time.monotonic()
            self._lots[attempt] = Lot(attempt, handle, size, now + OVERDUE)
            self.due = self.due or now + LOOK

    def done(self, attempt: int) -> int:
        """How many tasks of the attempt are known to be done."""
        lot = self._lots.get(attempt)
        return lot.done if lot is not None else 0

    def end(self, attempt: int) -> None:
        """The attempt is over."""
        self._lots.pop(attempt, None)
        if not self._lots:
            self.due = None

    def look(self, now: float) -> None:
        """Read what was put aside, and give back what takes too long."""
        self.due = now + LOOK if self._lots else None
        for lot in list(self._lots.values()):
            if lot.done + 1 >= lot.size:
                continue
            self.read(lot.handle)
            if lot.overdue <= now:
                self.give_back(lot.attempt)

    def read(self, handle: Handle) -> None:
        """Pass on what a process has put aside.

        To be called before anything is made of what it says otherwise.
        """
        if not self._lots:
            return
        parts: dict[int, tuple[list[list[Input]], float]] = {}
        try:
            for message in handle.aside.receive():
                lot = self._lots.get(message.attempt) if isinstance(message, channel.Part) else None
                if not lot or not isinstance(message, channel.Part) or message.index != lot.done:
                    raise channel.ChannelError("not the next part of a lot")
                results, seconds = parts.get(lot.attempt, ([], 0.0))
                results.append(results_of(lot.attempt + lot.done, message.results, self._address))
                parts[lot.attempt] = results, seconds + max(0.0, message.seconds)
                lot.done += 1
        except channel.ChannelError:
            # It has ended, or its task wrote there: either way it is no slot any more.
            self._kill(handle)
        for attempt, (results, seconds) in parts.items():
            first = self._lots[attempt].done - len(results)
            self._send(wire.Parts(attempt, first, results, seconds))

    def give_back(self, attempt: int) -> None:
        """Keep the slot from beginning a further task of the lot, and tell which these are.

        The slot tells of a task's end before it reads the limit, and we read what it tells after we
        have set it. So if the task at hand has not been told of by then, the slot will see the
        limit; otherwise the next one may have begun, and is kept, too.
        """
        lot = self._lots.get(attempt)
        if lot is None:
            return
        kept = 0
        while kept != lot.done + 1:
            kept = lot.done + 1
            lot.handle.line.limit = kept
            self.read(lot.handle)
        if kept < lot.size:
            lot.size = kept
            self._send(wire.Given(attempt, kept))


def results_of(number: int, results: list[bytes | int], address: str) -> list[Input]:
    """A task's results as they are told to the job service."""
    return [
        one if isinstance(one, bytes) else Stored(f"{number}.{bucket}", one, address)
        for bucket, one in enumerate(results)
    ]
