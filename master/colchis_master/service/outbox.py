"""What events lead to, kept back until the journal has what it depends on."""

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from enum import IntEnum
from functools import partial
from typing import Any, TypeAlias

import structlog

from colchis_master.core.events import Emit, Instruction, Persist
from colchis_master.core.records import Record
from colchis_master.service.dispatch import Dispatch
from colchis_master.service.feed import Feed

Write: TypeAlias = Callable[[Sequence[Record], Sequence[dict[str, Any]]], None]

HOLD = 0.02
"""Seconds for which what nobody waits for may be held back."""
MOST = 32
"""Instructions that wait for others to be written with; more would hold up the loop for long."""
LINES = 4
"""Events that are logged in one turn of the loop."""

log = structlog.get_logger(__name__)


class Haste(IntEnum):
    """How soon something is to be carried out."""

    NONE = 0
    """Nobody waits for it."""
    SOME = 1
    """Somebody does, but nothing is late if tasks go before."""
    ALL = 2


_Batch: TypeAlias = list[tuple[float, list[Instruction], Haste]]


class Outbox:
    """Has instructions carried out (see ``Dispatch``) once what they depend on is in the journal.

    All that events lead to in one turn of the loop goes into one write of the journal (group
    commit; DeWitt et al., "Implementation techniques for main memory database systems",
    SIGMOD'84): its sync takes longer than all else. What needs no write waits for none. What
    nobody waits for (what agents report, what a round has planned) is held back for some
    milliseconds, to be written with more of its kind, so that the loop is free for requests.

    ``now`` calls a function at the end of the present turn, ``later`` when there is time for it,
    ``by_then`` after :data:`HOLD` seconds. ``write`` raises where it failed: ``fail`` is told,
    once, and nothing is carried out any more. The same holds for a fault in carrying out.
    """

    def __init__(
        self,
        write: Write,
        feed: Feed,
        carry_out: Callable[[Instruction], None],
        fail: Callable[[Exception], None],
        now: Callable[[Callable[[], None]], object],
        later: Callable[[Callable[[], None]], object],
        by_then: Callable[[Callable[[], None]], object],
    ) -> None:
        self._write = write
        self._feed = feed
        self._fail = fail
        self._now = now
        self._later = later
        self._dispatch = Dispatch(carry_out, lambda some: later(partial(self._guarded, some)))
        self._by_then = by_then
        self._waiting: _Batch = []
        self._size = 0
        self._number = 0
        self._haste = Haste.NONE
        self._unlogged: deque[dict[str, Any]] = deque()
        self._failed = False

    def put(self, instructions: list[Instruction], wall: float, haste: Haste = Haste.ALL) -> None:
        """What one event led to at this time, in seconds since the epoch."""
        if not instructions or self._failed:
            return
        durable = any(isinstance(one, Persist | Emit) for one in instructions)
        if not self._waiting and not durable:
            now = haste is Haste.ALL or self._dispatch.idle
            self._guarded(partial(self._dispatch.put, instructions, now=now))
            return
        if not self._waiting:
            self._by_then(partial(self._overdue, self._number))
        self._waiting.append((wall, instructions, haste))
        self._size += len(instructions)
        if self._size >= MOST:
            haste = max(haste, Haste.SOME)
        if haste > self._haste:
            self._haste = haste
            (self._now if haste is Haste.ALL else self._later)(partial(self._due, self._number))

    def _overdue(self, number: int) -> None:
        if number == self._number:
            self._later(partial(self._due, number))

    def _due(self, number: int) -> None:
        if number == self._number:
            self.flush()

    def hasten(self, link: str) -> None:
        """Send what is written and goes to this agent."""
        self._guarded(partial(self._dispatch.hasten, link))

    def close(self) -> None:
        """Carry out and log all that is left."""
        self.flush()
        self._guarded(self._dispatch.finish)
        while self._unlogged:
            with suppress(OSError):
                self._log_some()

    def flush(self) -> None:
        """Write and carry out what was put in."""
        batch, self._waiting = self._waiting, []
        self._size, self._haste = 0, Haste.NONE
        self._number += 1
        if not batch or self._failed:
            return
        self._guarded(lambda: self._finish(batch))

    def _finish(self, batch: _Batch) -> None:
        events = self._keep(batch)
        # Nothing that depends on these records may be seen by anybody before.
        self._feed.publish(events)
        for _, instructions, haste in batch:
            left = [one for one in instructions if not isinstance(one, Persist | Emit)]
            self._dispatch.put(left, now=haste is Haste.ALL)
        if events and not self._unlogged:
            self._later(self._log)
        self._unlogged += events

    def _guarded(self, work: Callable[[], None]) -> None:
        if self._failed:
            return
        try:
            work()
        except Exception as error:  # the loop would go on as if nothing had happened
            self._failed = True
            self._fail(error)

    def _log(self) -> None:
        # A line that cannot be written, on a full disk, is lost alone.
        with suppress(OSError):
            self._log_some()
        if self._unlogged:
            self._later(self._log)

    def _log_some(self) -> None:
        for _ in range(min(LINES, len(self._unlogged))):
            event = self._unlogged.popleft()
            log.info(event["text"], kind=event["event"], id=event["id"])

    def _keep(self, batch: _Batch) -> list[dict[str, Any]]:
        """Make a batch durable; its events."""
        records: dict[str, Record] = {}
        happened: list[tuple[Emit, float]] = []
        for wall, instructions, _ in batch:
            for one in instructions:
                if isinstance(one, Persist):
                    # The last of a key is what counts, and comes after what it may speak of.
                    records.pop(one.record.key, None)
                    records[one.record.key] = one.record
                elif isinstance(one, Emit):
                    happened.append((one, wall))
        events = self._feed.number(happened)
        self._write(list(records.values()), events)
        return events
