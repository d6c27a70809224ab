"""What events lead to, kept back until the journal has what it depends on."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeAlias

import structlog

from colchis_master.core.events import Emit, Instruction, Persist
from colchis_master.core.records import Record
from colchis_master.service.feed import Feed

Write: TypeAlias = Callable[[Sequence[Record], Sequence[dict[str, Any]]], None]
_Batch: TypeAlias = list[tuple[float, list[Instruction]]]

log = structlog.get_logger(__name__)


class Outbox:
    """Carries instructions out in the order of the events that led to them.

    The journal is written in a thread of its own, one write at a time, while the core takes more
    events in; all that these lead to goes into the next write together (group commit; DeWitt et
    al., "Implementation techniques for main memory database systems", SIGMOD'84). So a sync holds
    nobody up but those who depend on it, and a busy master needs fewer of them.

    ``write`` raises where it failed: ``fail`` is told, once, and nothing is carried out any more.
    The same holds for a fault in ``carry_out``. To be used in the thread of a running event loop.
    """

    def __init__(
        self,
        write: Write,
        feed: Feed,
        carry_out: Callable[[Instruction], None],
        fail: Callable[[BaseException], None],
    ) -> None:
        self._write = write
        self._feed = feed
        self._carry_out = carry_out
        self._fail = fail
        self._thread = ThreadPoolExecutor(1, "journal")
        self._waiting: _Batch = []
        self._writing: asyncio.Future[None] | None = None
        self._failed = False

    def put(self, instructions: list[Instruction], wall: float) -> None:
        """What one event led to at this time, in seconds since the epoch."""
        if instructions and not self._failed:
            self._waiting.append((wall, instructions))
            if self._writing is None:
                self._advance()

    async def close(self) -> None:
        """Return when all that was put in is done, or has failed."""
        while self._writing is not None:
            await asyncio.wait([self._writing])
        self._thread.shutdown()

    def _advance(self) -> None:
        batch, self._waiting = self._waiting, []
        records: dict[str, Record] = {}
        happened: list[tuple[Emit, float]] = []
        for wall, instructions in batch:
            for one in instructions:
                if isinstance(one, Persist):
                    # The last of a key is what counts, and comes after what it may speak of.
                    records.pop(one.record.key, None)
                    records[one.record.key] = one.record
                elif isinstance(one, Emit):
                    happened.append((one, wall))
        events = self._feed.number(happened)
        if not records and not events:
            self._release(batch, events)
            return
        loop = asyncio.get_running_loop()
        self._writing = loop.run_in_executor(
            self._thread, self._write, list(records.values()), events
        )
        self._writing.add_done_callback(partial(self._written, batch, events))

    def _written(
        self, batch: _Batch, events: list[dict[str, Any]], write: "asyncio.Future[None]"
    ) -> None:
        self._writing = None
        error = write.exception()
        if error is None:
            try:
                self._release(batch, events)
                if self._waiting:
                    self._advance()
            except Exception as fault:  # nobody else would see it
                error = fault
        if error is not None:
            # Nothing that depends on these records may be seen by anybody.
            self._failed = True
            self._waiting.clear()
            self._fail(error)

    def _release(self, batch: _Batch, events: list[dict[str, Any]]) -> None:
        self._feed.publish(events)
        for _, instructions in batch:
            for one in instructions:
                self._carry_out(one)
        for event in events:
            log.info(event["text"], kind=event["event"], id=event["id"])
