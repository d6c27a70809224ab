"""The executor's main process: orders of the job service in, reports out, and never any work.

One loop over one poll. Whatever may take long happens elsewhere: tasks in slot processes, forks in
the zygote, results in the store's thread.
"""

import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import structlog
import zmq

from colchis.wire import tasks as wire
from colchis.wire.codec import WireError
from colchis.wire.lines import Line
from colchis.wire.work import EPOCH_SHIFT, PROTOCOL, Failure
from colchis_agent.executor import channel, events
from colchis_agent.executor.core import ExecutorCore
from colchis_agent.executor.events import Rung
from colchis_agent.executor.lots import Lots, results_of
from colchis_agent.executor.past import Past
from colchis_agent.executor.pool import Handle, Pool
from colchis_agent.executor.pulse import Pulse, status_of
from colchis_agent.executor.store import Store

log = structlog.get_logger("executor")

FREEZE_POLL = 0.001
"""Seconds between looks at a process that is being frozen."""
CANCELLED = object()
# As a plain number: every operation on pyzmq's enums is several calls.
_POLLOUT = int(zmq.POLLOUT)


class Supervisor:
    """Carries out what the core decides."""

    def __init__(
        self,
        *,
        name: str,
        node: str,
        memory: int,
        core: ExecutorCore,
        pool: Pool,
        store: Store,
        service: Line,
        heartbeat: float,
        status_file: Path | None = None,
    ) -> None:
        self._status_file = status_file
        self._name = name
        self._node = node
        self._memory = memory
        self._core = core
        self._pool = pool
        self._store = store
        self._service = service
        self._pulse = Pulse(core, pool, store, memory, heartbeat)
        self._epoch = 0
        self._incarnation = os.urandom(8).hex()
        self._unsent: list[bytes] = []
        self._stopping = False
        self._lots = Lots(self._send, pool.kill, store.address)
        self._work: dict[int, wire.Launch] = {}
        self._past = Past()
        self._asked = False
        """Whether the service wants to know who we are."""
        self._freezing: set[int] = set()
        self._poller = zmq.Poller()
        self._source = service.source
        self._poller.register(self._source, zmq.POLLIN)
        self._control = pool.control.fileno()
        self._poller.register(self._control, zmq.POLLIN)
        self._by_fd: dict[int, Handle] = {}
        self._writing: set[int] = set()
        self._carry: dict[type, Callable[[Any], None]] = {
            events.Spawn: self._spawn,
            events.Run: self._run_task,
            events.Continue: self._continue,
            events.Unwind: self._unwind,
            events.Flag: self._flag,
            events.Freeze: self._freeze,
            events.Thaw: self._thaw,
            events.Kill: self._kill,
            events.ReportSuspended: self._report_suspended,
            events.ReportResumed: self._report_resumed,
            events.ReportEnded: self._report_ended,
            events.ReportDied: self._report_died,
            events.ReportLost: self._report_lost,
        }
        self._orders: dict[type, Callable[[Any], None]] = {
            wire.Launch: self._launch,
            wire.Suspend: lambda order: self._feed(events.Suspend(order.attempt)),
            wire.Resume: lambda order: self._feed(events.Resume(order.attempt)),
            wire.Cancel: lambda order: self._feed(events.Cancel(order.attempt, order.grace)),
            wire.Function: lambda order: self._pool.keep_function(order.digest, order.data),
            wire.DropFunction: lambda order: self._pool.drop_function(order.digest),
            wire.DropResults: lambda order: self._store.drop(order.keys),
            wire.Settled: lambda order: self._past.settle(order.attempts),
            wire.Prefetch: lambda order: self._store.prefetch(order.inputs),
            wire.Welcome: self._welcome,
            wire.WhoAreYou: self._who_are_you,
            wire.Refused: self._refused,
        }

    def stop(self) -> None:
        """End the loop at its next turn; for signal handlers."""
        self._stopping = True

    def run(self) -> None:
        """Serve until told to end. Raises ZygoteGoneError when nothing can be forked any more.

        Either way the job service is told, so that others have its tasks at once.
        """
        try:
            self._serve()
        finally:
            self._send(wire.Leave())
            self._flush()

    def _serve(self) -> None:
        self._register()
        self._feed(events.Tick())
        self._flush()
        while not self._stopping:
            for source, mask in self._poller.poll(self._timeout()):
                if source == self._source:
                    self._read_service()
                elif source == self._control:
                    self._read_zygote()
                elif source in self._by_fd:
                    self._serve_slot(self._by_fd[source], mask)
            self._service.again()
            # Somebody waits for what was just read.
            self._flush()
            if self._freezing:
                self._look_at_freezing()
            now = time.monotonic()
            if self._lots.due is not None and self._lots.due <= now:
                self._lots.look(now)
            deadline = self._core.next_deadline()
            if deadline is not None and deadline <= now:
                self._feed(events.Tick())
            if self._pulse.due <= now:
                self._beat(now)
            self._flush()

    def _beat(self, now: float) -> None:
        self._pool.look_at_zygote(now)
        beat = self._pulse.beat(now)
        self._send(beat)
        if self._status_file is not None:
            self._store.write(self._status_file, status_of(self._name, beat))

    def _timeout(self) -> int:
        """Milliseconds until something is due."""
        due = min(self._pulse.due, self._service.due)
        deadline = self._core.next_deadline()
        if deadline is not None:
            due = min(due, deadline)
        if self._lots.due is not None:
            due = min(due, self._lots.due)
        wait = due - time.monotonic()
        if self._freezing:
            wait = min(wait, FREEZE_POLL)
        return max(0, math.ceil(wait * 1000))

    def _feed(self, event: events.Event) -> None:
        for instruction in self._core.handle(event, time.monotonic()):
            self._carry[type(instruction)](instruction)

    def _send(self, message: wire.FromExecutor) -> None:
        self._unsent.append(wire.FROM_EXECUTOR.encode(message))

    def _flush(self) -> None:
        if self._unsent and not self._service.send(self._unsent):
            # Nobody has listened for a very long time. Who comes back asks us who we are.
            log.warning("reports dropped", number=len(self._unsent))
        self._unsent.clear()

    def _read_service(self) -> None:
        # Bounded, so that a flood of orders does not keep the slots' news waiting.
        for frames in self._service.arrived(64):
            for frame in frames:
                try:
                    order = wire.TO_EXECUTOR.decode(frame)
                except WireError as error:
                    log.warning("order dropped", why=str(error))
                    continue
                self._orders[type(order)](order)
        if self._asked:
            self._asked = False
            self._register()

    def _who_are_you(self, _order: wire.WhoAreYou) -> None:
        # Answered once, however often it was asked, and after all that was ordered before.
        self._asked = True

    def _register(self) -> None:
        self._send(
            wire.Register(
                executor=self._name,
                incarnation=self._incarnation,
                node=self._node,
                cores=self._core.cores,
                memory=self._memory,
                address=self._store.address,
                protocol=PROTOCOL,
                attempts=list(self._core.attempts),
                carried=self._past.carried(self._core.attempts.values(), self._pulse.parked),
                done=self._past.done(),
            )
        )

    def _welcome(self, order: wire.Welcome) -> None:
        if order.protocol != PROTOCOL:
            log.error("protocol differs", ours=PROTOCOL, theirs=order.protocol)
            self._stopping = True
        elif order.epoch < self._epoch:
            log.warning("an old job service is not obeyed", epoch=order.epoch, now=self._epoch)
        elif order.epoch > self._epoch:
            self._epoch = order.epoch
            kept = set(order.kept)
            for attempt in list(self._core.attempts):
                if attempt >> EPOCH_SHIFT != order.epoch and attempt not in kept:
                    self._feed(events.Cancel(attempt, 0.0))
            self._past.keep_only(order.epoch, kept)
            self._store.keep_only(order.epoch, kept)

    def _refused(self, order: wire.Refused) -> None:
        log.error("refused by the job service", why=order.reason)
        self._stopping = True

    def _launch(self, order: wire.Launch) -> None:
        if order.attempt >> EPOCH_SHIFT != self._epoch:
            log.warning("order of another epoch dropped", attempt=order.attempt)
            return
        self._work[order.attempt] = order
        self._past.begin(order.attempt, order.task)
        self._feed(events.Launch(order.attempt))

    def _read_zygote(self) -> None:
        news = self._pool.news()
        if news is None:
            return
        handle, status = news
        # What it said before it ended comes first.
        self._read_slot(handle)
        self._lots.read(handle)
        self._unwatch(handle)
        self._freezing.discard(handle.number)
        self._feed(events.ProcessExited(handle.number, status))
        self._pool.remove(handle)

    def _serve_slot(self, handle: Handle, mask: int) -> None:
        if mask & _POLLOUT:
            handle.end.flush()
            self._watch_writes(handle)
        if mask & ~_POLLOUT:
            self._read_slot(handle)

    def _read_slot(self, handle: Handle) -> None:
        number = handle.number
        try:
            for message in handle.end.receive():
                self._lots.read(handle)
                if isinstance(message, channel.Ready):
                    handle.base_memory = self._pool.memory(handle)
                    self._feed(events.ProcessReady(number))
                elif isinstance(message, channel.Parked):
                    self._feed(events.Yielded(number, message.attempt))
                elif isinstance(message, channel.Unwound):
                    self._feed(events.Ended(number, message.attempt, CANCELLED))
                else:
                    self._feed(events.Ended(number, message.attempt, message))
        except channel.ChannelError:
            # It ended, or its task wrote into our channel: either way it is no slot any more.
            self._unwatch(handle)
            self._pool.kill(handle)

    def _unwatch(self, handle: Handle) -> None:
        if self._by_fd.pop(handle.end.fileno(), None) is not None:
            self._poller.unregister(handle.end.fileno())

    def _watch_writes(self, handle: Handle) -> None:
        wanted = bool(handle.end.pending)
        if wanted != (handle.number in self._writing) and handle.end.fileno() in self._by_fd:
            flags = zmq.POLLIN | zmq.POLLOUT if wanted else zmq.POLLIN
            self._poller.modify(handle.end.fileno(), flags)
            (self._writing.add if wanted else self._writing.discard)(handle.number)

    def _look_at_freezing(self) -> None:
        for number in list(self._freezing):
            handle = self._pool.handles[number]
            if self._pool.freezer.is_frozen(handle.line_number, handle.pid):
                self._freezing.discard(number)
                self._feed(events.Frozen(number))

    def _spawn(self, what: events.Spawn) -> None:
        handle = self._pool.spawn(what.process)
        self._by_fd[handle.end.fileno()] = handle
        self._poller.register(handle.end.fileno(), zmq.POLLIN)

    def _run_task(self, what: events.Run) -> None:
        handle = self._pool.handles[what.process]
        self._pool.begin_task(handle)
        order = self._work.pop(what.attempt)
        self._lots.begin(what.attempt, handle, 1 + len(order.more))
        self._order(handle, channel.Start(what.attempt, order.work, order.more))

    def _continue(self, what: events.Continue) -> None:
        self._order(self._pool.handles[what.process], channel.Go(what.attempt))

    def _unwind(self, what: events.Unwind) -> None:
        self._order(self._pool.handles[what.process], channel.Throw(what.attempt))

    def _order(self, handle: Handle, message: channel.ToSlot) -> None:
        self._pool.order(handle, message)
        if handle.end.pending:
            self._watch_writes(handle)

    def _flag(self, what: events.Flag) -> None:
        self._pool.flag(self._pool.handles[what.process], cancel=what.cancel)

    def _freeze(self, what: events.Freeze) -> None:
        handle = self._pool.handles[what.process]
        self._pool.freezer.freeze(handle.line_number, handle.pid)
        self._freezing.add(what.process)

    def _thaw(self, what: events.Thaw) -> None:
        self._freezing.discard(what.process)
        self._pool.thaw(self._pool.handles[what.process], clear=what.clear)

    def _kill(self, what: events.Kill) -> None:
        self._freezing.discard(what.process)
        self._pool.kill(self._pool.handles[what.process])

    def _report_suspended(self, what: events.ReportSuspended) -> None:
        if what.rung is not Rung.HELD:
            self._lots.give_back(what.attempt)
        elif self._work[what.attempt].more:
            self._work[what.attempt] = wire.Launch(what.attempt, self._work[what.attempt].work)
            self._send(wire.Given(what.attempt, 1))
        memory = self._pulse.suspended(what.attempt, what.process)
        self._send(wire.Suspended(what.attempt, what.rung.value, memory))

    def _report_resumed(self, what: events.ReportResumed) -> None:
        self._pulse.resumed(what.attempt)
        self._send(wire.Resumed(what.attempt))

    def _report_ended(self, what: events.ReportEnded) -> None:
        attempt, outcome = what.attempt, what.outcome
        self._pulse.ended(attempt)
        number = attempt + self._lots.done(attempt)
        self._lots.end(attempt)
        if isinstance(outcome, channel.Returned):
            results = results_of(number, outcome.results, self._store.address)
            self._past.end(attempt, results)
            self._send(wire.Finished(attempt, results, outcome.seconds))
            return
        self._past.end(attempt)
        if isinstance(outcome, channel.Cut):
            self._send(wire.Finished(attempt, []))
        elif isinstance(outcome, channel.Raised):
            self._send(wire.Failed(attempt, self._placed(outcome.failure, what.process)))
        elif isinstance(outcome, channel.Starved):
            self._send(wire.InputLost(attempt, outcome.key))
        else:
            self._send(wire.Cancelled(attempt))

    def _report_died(self, what: events.ReportDied) -> None:
        self._pulse.ended(what.attempt)
        self._lots.end(what.attempt)
        self._work.pop(what.attempt, None)
        self._past.end(what.attempt)
        if what.cancelled:
            self._send(wire.Cancelled(what.attempt))
            return
        failure = self._placed(Failure(message=describe_exit(what.status)), what.process)
        self._send(wire.Failed(what.attempt, failure, died=True))

    def _report_lost(self, what: events.ReportLost) -> None:
        self._pulse.ended(what.attempt)
        self._lots.end(what.attempt)
        self._past.end(what.attempt)
        self._send(wire.Lost(what.attempt))

    def _placed(self, failure: Failure, process: int) -> Failure:
        handle = self._pool.handles.get(process)
        return Failure(
            message=failure.message,
            traceback=failure.traceback,
            exception=failure.exception,
            node=self._node,
            executor=self._name,
            log=self._pool.log_lines(handle) if handle is not None else [],
        )


def describe_exit(status: int) -> str:
    """In words how a slot process ended under its task."""
    import signal

    if status >= 0:
        return f"the task ended its process with exit code {status}"
    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = f"signal {-status}"
    hint = ": out of memory, or killed by somebody" if -status == signal.SIGKILL else ""
    return f"the task's process was ended by {name}{hint}"
