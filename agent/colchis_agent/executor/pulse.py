"""What an executor tells of itself with every heartbeat."""

import time

import msgspec

from colchis.wire.messages import ExecutorSample
from colchis.wire.tasks import Attempted, Heartbeat
from colchis_agent.executor.core import ExecutorCore
from colchis_agent.executor.lifecycle import Phase
from colchis_agent.executor.pool import Pool
from colchis_agent.executor.store import Store


class Pulse:
    """Measures; ``memory`` is the executor's own, in bytes, ``interval`` in seconds."""

    def __init__(
        self, core: ExecutorCore, pool: Pool, store: Store, memory: int, interval: float
    ) -> None:
        self._core = core
        self._pool = pool
        self._store = store
        self._memory = memory
        self._interval = interval
        self._last = time.monotonic()
        self.due = self._last + interval
        """When the next heartbeat is to be sent."""
        self._spilled = 0
        self._parked: dict[int, int] = {}

    def suspended(self, attempt: int, process: int) -> int:
        """Bytes that an attempt holds which was just suspended.

        What its process has grown by since it was forked, less what others parked there hold.
        """
        handle = self._pool.handles.get(process)
        if handle is None:
            self._parked[attempt] = 0
            return 0
        others = self._core.processes[process].parked - {attempt}
        elsewhere = sum(self._parked.get(other, 0) for other in others)
        held = max(0, self._pool.memory(handle) - handle.base_memory - elsewhere)
        self._parked[attempt] = held
        return held

    def resumed(self, attempt: int) -> None:
        """The attempt's memory is no longer that of a suspended one."""
        self._parked.pop(attempt, None)

    ended = resumed

    def parked(self, attempt: int) -> int:
        """Bytes that an attempt holds which is suspended; 0 for any other."""
        return self._parked.get(attempt, 0)

    def beat(self, now: float) -> Heartbeat:
        """The heartbeat that is due; asks running tasks for their progress on the way."""
        seconds = max(now - self._last, 1e-6)
        self._last, self.due = now, now + self._interval
        gc_seconds, used = 0.0, self._store.held
        for handle in self._pool.handles.values():
            total = handle.line.gc_seconds
            gc_seconds += max(0.0, total - handle.gc_before)
            handle.gc_before = total
            used += max(0, self._pool.memory(handle) - handle.base_memory)
        spilled, self._spilled = self._store.spilled - self._spilled, self._store.spilled
        return Heartbeat(
            memory=min(1.0, used / self._memory) if self._memory else 0.0,
            spilled=spilled,
            gc=min(1.0, gc_seconds / (seconds * self._core.cores)),
            attempts=[self._describe(number) for number in self._core.attempts],
            stored=self._store.held,
        )

    def _describe(self, number: int) -> Attempted:
        attempt = self._core.attempts[number]
        held, progress = self._parked.get(number, 0), -1.0
        handle = self._pool.handles.get(-1 if attempt.process is None else attempt.process)
        if handle is not None and attempt.phase in (Phase.RUNNING, Phase.SUSPENDING):
            held = max(0, self._pool.memory(handle) - handle.base_memory)
            progress = min(1.0, handle.line.progress)
            handle.line.asked = True
        return Attempted(number, attempt.phase.value, held, progress)


PARKED = (Phase.SUSPENDED.value, Phase.FROZEN.value, Phase.HELD.value)


def status_of(executor: str, beat: Heartbeat) -> bytes:
    """The same as the agent takes it, from the file that it names to the executor."""
    phases = [attempt.phase for attempt in beat.attempts]
    return msgspec.json.encode(
        ExecutorSample(
            container=executor,
            memory_share=beat.memory,
            spilled=beat.spilled,
            gc_share=beat.gc,
            running=phases.count(Phase.RUNNING.value),
            suspending=phases.count(Phase.SUSPENDING.value),
            suspended=sum(phase in PARKED for phase in phases),
            suspended_memory=sum(a.memory for a in beat.attempts if a.phase in PARKED),
        )
    )
